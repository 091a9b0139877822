# The action image, `instar/action-pytorch:2`. `make image` lays the wheels ready and builds it; nothing is fetched here.
#
# Built by the legacy builder and by BuildKit alike. Its layers stand in the order in which they change: the base, the
# user and the places, torch, the other packages, Instar. Each is made in a stage of its own, so that a change in
# Instar touches the last one only.

FROM python:3.11-slim-bookworm AS empty
COPY deploy/image/inside /inside
COPY build/image/wheels/pip /wheels/pip
RUN python3 -m venv --without-pip /opt/instar

FROM empty AS torch
COPY build/image/wheels/torch /wheels/torch
RUN python3 -B /inside/install.py /opt/instar /wheels/torch/*.whl

FROM empty AS packages
COPY build/image/wheels/packages /wheels/packages
RUN python3 -B /inside/install.py /opt/instar /wheels/packages/*.whl

FROM empty AS instar
COPY build/image/wheels/instar /wheels/instar
RUN python3 -B /inside/install.py /opt/instar /wheels/instar/*.whl \
 && cd /opt/instar && mkdir /layer && cp -a --parents bin/instar* lib/python3.11/site-packages/instar* /layer/

FROM python:3.11-slim-bookworm
# Started as root, the runtime closes the store to everybody but its own user; started as anybody else, it is that
# user's. Where a node's store is mounted, it lies behind a folder that is closed already: its own modes are the node's.
# No program raises anybody's rights.
RUN echo 'instar:x:65532:' >> /etc/group \
 && echo 'instar:x:65532:65532:Instar:/nonexistent:/usr/sbin/nologin' >> /etc/passwd \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
 && mkdir -p /var/lib/instar /var/lib/instar-node/store \
 && chown 65532:65532 /var/lib/instar /var/lib/instar-node \
 && chmod 0777 /var/lib/instar && chmod 0700 /var/lib/instar-node
ENV PATH=/opt/instar/bin:/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    INSTAR_STORE=/var/lib/instar \
    INSTAR_NODE_STORE=/var/lib/instar-node/store
LABEL org.opencontainers.image.title="Instar action runtime" \
      org.opencontainers.image.description="OpenWhisk actions of kind pytorch:2" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
EXPOSE 8080
ENTRYPOINT ["instar-runtime", "--host", "0.0.0.0", "--port", "8080", "--isolate"]
COPY --from=torch /opt/instar /opt/instar
COPY --from=packages /opt/instar/lib/python3.11/site-packages /opt/instar/lib/python3.11/site-packages
COPY --from=instar /layer /opt/instar
