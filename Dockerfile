# docker build -t lb .
# docker run --rm -v ./lb.yaml:/etc/lb/lb.yaml:ro -p 8080:8080 lb

FROM python:3.13-slim AS builder
RUN apt-get -o Acquire::Retries=5 update \
 && apt-get -o Acquire::Retries=5 install -y --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY ext ext
COPY lb lb
# The environment gets no pip of its own: nothing is installed after this stage.
RUN python -m venv --without-pip /opt/lb \
 && pip --python /opt/lb/bin/python install --no-cache-dir --compile .

# The same base, so the environment's interpreter is found where it was.
FROM python:3.13-slim
RUN useradd --system --user-group --no-create-home --home-dir /var/lib/lb --shell /usr/sbin/nologin lb \
 && install -d /etc/lb && install -d -o lb -g lb /var/lib/lb /run/lb
COPY --from=builder /opt/lb /opt/lb
ENV PATH=/opt/lb/bin:$PATH \
    PYTHONUNBUFFERED=1
USER lb
WORKDIR /var/lib/lb
VOLUME /var/lib/lb
STOPSIGNAL SIGTERM
# Alive, not ready: a container that drains, or whose endpoints are down, must not be restarted for it.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9900/live', timeout=2)"]
ENTRYPOINT ["lb"]
CMD ["run", "-c", "/etc/lb/lb.yaml"]
