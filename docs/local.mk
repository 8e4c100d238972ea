# docs: the handbook.
dist_doc_DATA += docs/HANDBOOK.md
