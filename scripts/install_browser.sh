#!/usr/bin/env bash
# Install Debian's Chromium, in which `make test` opens the pages, where that can be done.
set -euo pipefail

for program in chromium chromium-browser google-chrome google-chrome-stable; do
  if command -v "$program" >/dev/null; then
    echo "The pages are checked in $(command -v "$program")."
    exit 0
  fi
done

if [ "$(id -u)" = 0 ]; then
  as_root=()
elif sudo -n true 2>/dev/null; then
  as_root=(sudo -n)
else
  echo "No Chromium here, and no right to install it: the checks in a browser will be skipped."
  echo "Install Chromium or Chrome by hand to have them run."
  exit 0
fi

if ! command -v apt-get >/dev/null; then
  echo "No Chromium here, and no apt-get to install it with: install Chromium or Chrome by hand."
  exit 0
fi

if ! "${as_root[@]}" apt-get update -qq ||
  ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends chromium >/dev/null; then
  echo "Chromium could not be installed: the checks in a browser will be skipped."
fi
