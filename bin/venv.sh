# Sourced by the other scripts, from the checkout's root: makes .venv, or brings it up to date with pyproject.toml.
# Needs nothing but /bin/sh and, on a machine without Python 3.11, the right to install it.
if ! [ -e .venv/ready ] || [ pyproject.toml -nt .venv/ready ]; then
    if ! [ -x .venv/bin/python ]; then
        if ! python3.11 -c 'import ensurepip' 2>/dev/null; then
            apt-get -q update
            DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install python3.11 python3-venv
        fi
        python3.11 -m venv .venv
    fi
    cache=${CASCADE_LAB_STATE:-$PWD/.lab}/cache
    mkdir -p "$cache"
    # uv installs twenty times faster than pip; its cache stays in the lab's state folder.
    .venv/bin/python -m uv --version >/dev/null 2>&1 || .venv/bin/python -m pip install -q --cache-dir "$cache/pip" uv
    UV_CACHE_DIR="$cache/uv" .venv/bin/python -m uv pip install -q --compile-bytecode --python .venv/bin/python \
        -e '.[osc,lab,test,mysql,postgresql]'
    touch .venv/ready
fi
