# One image a process: each carries only the packages of its own group (requirements/*.txt, pinned with hashes).
# docker build --target api .

FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
RUN useradd --system --create-home epochlog && mkdir /data && chown epochlog /data
COPY sdk ./sdk
COPY events ./events
COPY producers ./producers

# The page's static files.
FROM node:22-bookworm-slim AS page
WORKDIR /page
COPY dashboard/ ./
RUN npm ci && npm run build

FROM base AS api
COPY requirements/api.txt requirements/
RUN pip install --require-hashes --no-deps -r requirements/api.txt && pip install --no-deps --no-build-isolation ./sdk
COPY api ./api
COPY --from=page /page/dist ./dashboard/dist
USER epochlog
EXPOSE 8000
CMD ["python", "-m", "api"]

FROM base AS projections
COPY requirements/projections.txt requirements/
RUN pip install --require-hashes --no-deps -r requirements/projections.txt \
    && pip install --no-deps --no-build-isolation ./sdk
COPY projections ./projections
USER epochlog
CMD ["python", "-m", "projections", "run", "core"]

# The launcher starts trainers as processes beside itself: an image a framework, so that none carries the packages of
# another. ultralytics is AGPL-3.0: only its own image has it.
FROM base AS trainers
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*

FROM trainers AS launcher
COPY requirements/ultralytics.txt requirements/
RUN pip install --require-hashes --no-deps -r requirements/ultralytics.txt \
    && pip install --no-deps --no-build-isolation ./sdk
COPY trainers/*.py trainers/
COPY trainers/launcher trainers/launcher
COPY trainers/converters trainers/converters
COPY trainers/ultralytics trainers/ultralytics
USER epochlog
VOLUME /data
CMD ["python", "-m", "trainers.launcher"]

FROM trainers AS launcher-timm
COPY requirements/timm.txt requirements/
RUN pip install --require-hashes --no-deps -r requirements/timm.txt \
    && pip install --no-deps --no-build-isolation ./sdk
COPY trainers/*.py trainers/
COPY trainers/launcher trainers/launcher
# The other converters want OpenCV, for masks.
COPY trainers/converters/__init__.py trainers/converters/
COPY trainers/converters/reading.py trainers/converters/
COPY trainers/converters/linking.py trainers/converters/
COPY trainers/converters/dice_to_image_folder.py trainers/converters/
COPY trainers/timm trainers/timm
USER epochlog
VOLUME /data
CMD ["python", "-m", "trainers.launcher"]

FROM trainers AS launcher-transformers
COPY requirements/transformers.txt requirements/
RUN pip install --require-hashes --no-deps -r requirements/transformers.txt \
    && pip install --no-deps --no-build-isolation ./sdk
COPY trainers/*.py trainers/
COPY trainers/launcher trainers/launcher
COPY trainers/converters trainers/converters
COPY trainers/transformers trainers/transformers
USER epochlog
VOLUME /data
CMD ["python", "-m", "trainers.launcher"]

FROM python:3.11-slim-bookworm AS mlflow
WORKDIR /app
COPY requirements/mlflow.txt requirements/
RUN pip install --no-cache-dir --require-hashes --no-deps -r requirements/mlflow.txt && useradd --system epochlog
USER epochlog
EXPOSE 5000
CMD ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--workers", "1", "--artifacts-destination", "s3://mlflow"]
