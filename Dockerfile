# `cimeu serve` on the processor, with a model that you mount:
#   docker build -t cimeu .
#   docker run -p 8000:8000 -v "$PWD/model.zip:/model.zip:ro" -e CIMEU_TOKEN=... cimeu
FROM python:3.11-slim

# The processor build of PyTorch is a tenth of the CUDA build's size.
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
WORKDIR /app
COPY constraints.txt pyproject.toml README.md LICENSE NOTICES.md ./
COPY src src
RUN pip install --extra-index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' constraints.txt)" \
 && pip install --constraint constraints.txt '.[server]'

# Uploads are decoded here: not as root, and nowhere to write but the home folder.
RUN useradd --create-home --uid 1000 cimeu
# By number: a cluster that admits no root cannot tell from a name who it is.
USER 1000
WORKDIR /home/cimeu

EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# Listening on every address needs a token: set CIMEU_TOKEN.
CMD ["cimeu", "serve", "--model", "/model.zip", "--host", "0.0.0.0", "--port", "8000", "--no-browser"]
