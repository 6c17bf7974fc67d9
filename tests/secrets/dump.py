"""Writes all that a PostgreSQL server and a Redis server hold into files, as whoever stole it would have it.

dump.py FOLDER     the servers are those of DATABASE_URL and REDIS_URL
"""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import redis


def main(folder):
    dump_postgres(folder)
    dump_redis(folder / "redis.dump")


def dump_postgres(folder):
    # By the environment, because a command line can be seen in the list of processes.
    url = urlsplit(os.environ["DATABASE_URL"])
    settings = {
        "PGHOST": url.hostname,
        "PGPORT": str(url.port or 5432),
        "PGUSER": unquote(url.username or ""),
        "PGPASSWORD": unquote(url.password or ""),
    }
    environment = os.environ | settings

    def run(*command):
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        return done.stdout

    names = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate"
    maintenance = url.path.lstrip("/")
    databases = run("psql", "--no-psqlrc", "-At", "--dbname", maintenance, "--command", names)
    for database in databases.decode().split():
        (folder / f"{database}.sql").write_bytes(run("pg_dump", "--dbname", database))


def dump_redis(file):
    """Values are read by what they are: RDB files and DUMP compress."""
    server = redis.Redis.from_url(os.environ["REDIS_URL"])
    readers = {
        b"string": server.get,
        b"list": lambda key: server.lrange(key, 0, -1),
        b"set": server.smembers,
        b"zset": lambda key: server.zrange(key, 0, -1),
        b"hash": server.hgetall,
        b"stream": server.xrange,
    }
    with open(file, "wb") as out:
        for key in server.scan_iter(count=1000):
            out.write(b"== " + key + b"\n")
            write(out, readers[server.type(key)](key))


def write(out, value):
    if isinstance(value, bytes):
        out.write(value + b"\n")
    elif isinstance(value, dict):
        for pair in value.items():
            write(out, pair)
    elif value is not None:
        for item in value:
            write(out, item)


main(Path(sys.argv[1]))
