# The action image `instar/action-pytorch:2`. `make image` lays its wheels ready and builds it; nothing is fetched here.
#
# Legacy builder and BuildKit both build this. Layers, in the order in which they change: the base, the user, torch,
# the other packages, Instar.

FROM python:3.11-slim-bookworm AS empty
COPY build/image/wheels/pip /wheels/pip
COPY deploy/image/trim.py deploy/image/trimmed.txt /trim/
RUN python3 -m venv --without-pip /opt/instar && python3 -m zipfile -e /wheels/pip/*.whl /pip

FROM empty AS torch
COPY build/image/wheels/torch /wheels/torch
RUN PYTHONPATH=/pip /opt/instar/bin/python -m pip install --quiet --root-user-action=ignore --no-index --no-deps --no-compile --no-cache-dir /wheels/torch/*.whl \
 && /opt/instar/bin/python /trim/trim.py

FROM empty AS packages
COPY build/image/wheels/packages /wheels/packages
RUN PYTHONPATH=/pip /opt/instar/bin/python -m pip install --quiet --root-user-action=ignore --no-index --no-deps --no-compile --no-cache-dir /wheels/packages/*.whl \
 && /opt/instar/bin/python /trim/trim.py

FROM empty AS instar
COPY build/image/wheels/instar /wheels/instar
RUN PYTHONPATH=/pip /opt/instar/bin/python -m pip install --quiet --root-user-action=ignore --no-index --no-deps --no-compile --no-cache-dir /wheels/instar/*.whl \
 && /opt/instar/bin/python /trim/trim.py

FROM python:3.11-slim-bookworm
RUN echo 'instar:x:65532:' >> /etc/group \
 && echo 'instar:x:65532:65532:Instar:/nonexistent:/usr/sbin/nologin' >> /etc/passwd \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
 && mkdir -p /action /var/lib/instar \
 && chown 65532:0 /action /var/lib/instar \
 && chmod 0775 /action /var/lib/instar
ENV PATH=/opt/instar/bin:/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    INSTAR_STORE=/var/lib/instar
WORKDIR /action
EXPOSE 8080
ENTRYPOINT ["instar-runtime", "--host", "0.0.0.0", "--port", "8080", "--work", "/action"]
COPY --from=torch /opt/instar /opt/instar
COPY --from=packages /opt/instar/lib/python3.11/site-packages /opt/instar/lib/python3.11/site-packages
COPY --from=instar /opt/instar/lib/python3.11/site-packages /opt/instar/lib/python3.11/site-packages
COPY --from=instar /opt/instar/bin/instar /opt/instar/bin/instar-runtime /opt/instar/bin/
