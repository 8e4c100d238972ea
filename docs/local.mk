# docs: the handbook; what was measured.
dist_doc_DATA += docs/HANDBOOK.md docs/CLIENTS.md docs/FUZZING.md docs/PERFORMANCE.md docs/RELIABILITY.md
