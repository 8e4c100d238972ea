#!/bin/sh
# autogen.sh: makes configure and Makefile.in; needs autoconf and automake. Run after a change of configure.ac.
set -e
cd "$(dirname "$0")"
exec autoreconf -fi
