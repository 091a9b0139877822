# The controller plugin's image, `instar/controller`: `instar dispatcher` and `instar invoker`, without torch.
# `make controller-image` lays the wheels ready and builds it; nothing is fetched here.
#
# As runtime.Dockerfile, it is built by the legacy builder and by BuildKit alike, its layers in the order in which they
# change: the base, the user and the places, the packages, Instar.

FROM python:3.11-slim-bookworm AS empty
COPY deploy/image/inside /inside
COPY build/image/wheels/pip /wheels/pip
RUN python3 -m venv --without-pip /opt/instar

FROM empty AS packages
COPY build/image/wheels/controller /wheels/controller
RUN python3 -B /inside/install.py /opt/instar /wheels/controller/*.whl

FROM empty AS instar
COPY build/image/wheels/instar /wheels/instar
RUN python3 -B /inside/install.py /opt/instar /wheels/instar/*.whl \
 && cd /opt/instar && mkdir /layer && cp -a --parents bin/instar lib/python3.11/site-packages/instar* /layer/ \
 && cp /inside/livez.py /layer/livez.py && touch -d @0 /layer /layer/livez.py

FROM python:3.11-slim-bookworm
# Never root: whoever starts an invoker gives user 65532 the group of the Docker socket (`--group-add`), and a store
# that it may write to. State is what a node cannot get from elsewhere: records that the database would not take.
# What models cost is measured where torch is, so there is a profile only if somebody names one.
# No program raises anybody's rights.
RUN echo 'instar:x:65532:' >> /etc/group \
 && echo 'instar:x:65532:65532:Instar:/nonexistent:/usr/sbin/nologin' >> /etc/passwd \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
 && mkdir -p /var/lib/instar/state /var/lib/instar/store \
 && chown -R 65532:65532 /var/lib/instar && chmod 0755 /var/lib/instar
ENV PATH=/opt/instar/bin:/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    INSTAR_STATE=/var/lib/instar/state \
    INSTAR_STORE=/var/lib/instar/store \
    INSTAR_COSTS=none
LABEL org.opencontainers.image.title="Instar controller plugin" \
      org.opencontainers.image.description="instar dispatcher and instar invoker, beside a stock OpenWhisk controller" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
EXPOSE 8080
USER 65532:65532
ENTRYPOINT ["instar"]
CMD ["--help"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python3", "-I", "/opt/instar/livez.py"]
COPY --from=packages /opt/instar /opt/instar
COPY --from=instar /layer /opt/instar
