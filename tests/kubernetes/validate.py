"""validate.py VERSION FILE: checks manifests against the schemas of a version of Kubernetes, strictly."""

import sys

import kubernetes_validate
import yaml

# Custom resources, whose schemas are their operators'.
CUSTOM = {"monitoring.coreos.com/v1"}

version, path = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    for item in yaml.safe_load_all(file):
        if item["apiVersion"] in CUSTOM:
            continue
        try:
            kubernetes_validate.validate(item, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(map(str, error.path))
            sys.exit(f"{item['kind']} {item['metadata']['name']}: {where}: {error.message}")
