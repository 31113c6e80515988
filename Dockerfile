# One image for all parts; docker-compose.yml says which part a container is.
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/holdfast
COPY pyproject.toml requirements.lock README.md ./
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements.lock
COPY backups backups
COPY destinations destinations
COPY notifications notifications
COPY panel panel
COPY restores restores
COPY worker worker
COPY templates templates
COPY static static
COPY manage.py ./
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation -e .

FROM python:3.12-slim
# web: its own user without any key; root does the work, because only root may read and write every customer's files.
RUN groupadd --system --gid 990 holdfast-web && useradd --system --uid 990 --gid 990 --no-create-home holdfast-web
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/holdfast /opt/holdfast
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 HOLDFAST_PRODUCTION=yes HOLDFAST_DATA_DIR=/var/lib/holdfast \
    HOLDFAST_LISTEN_HOST=0.0.0.0
WORKDIR /opt/holdfast
VOLUME /var/lib/holdfast
ENTRYPOINT ["python", "manage.py"]
CMD ["web"]
