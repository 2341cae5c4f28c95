# shellcheck shell=bash
# Sourced by the scripts of this folder: where things are, and the two ways to speak to the person who watches.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# What is built from other projects (crictl, critest, …) is kept outside the tree, shared by all its checkouts.
CACHE=${BERTH_CACHE:-${HOME:-/root}/.cache/berth}
# The project's own Node comes first: the machine's may be older than the one that the sources are written for.
PATH=$ROOT/node_modules/.bin:$CACHE/bin:$PATH
export ROOT PATH BERTH_CACHE=$CACHE

say() { printf '\033[1m%s:\033[0m %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }
