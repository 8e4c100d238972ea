# docs: the handbook.
#
# Template:
#dist_doc_DATA += docs/NAME.md
#dist_man_MANS += docs/NAME.5
