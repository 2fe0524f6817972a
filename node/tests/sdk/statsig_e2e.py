#!/usr/bin/env python3
"""The unmodified Statsig SDK for Python against a real cluster: `meridian dev`, three processes on loopback.

Shows that it initialises, that a publish flips a gate within a second, that evaluation goes on while every node is
dead, and that it catches up when they are back. Prints one JSON line with the timings; exits 1 with `why` if anything
did not hold.

    statsig_e2e.py PATH_TO_MERIDIAN

Needs statsig-python-core. The SDK is given `disable_network`, which stops its HTTP but not its gRPC: nothing but the
cluster is contacted.
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

from statsig_python_core import SpecAdapterConfig, Statsig, StatsigOptions, StatsigUser

FLIP_WITHIN_S = 1.0
OUTAGE_S = 4.0
# The SDK waits 3, 6, 12 s between its attempts, without jitter; an outage of this length ends during the second wait,
# and the machine may be busy.
CATCH_UP_WITHIN_S = 40.0

ENVIRONMENT = "demo/production"
GATE = "checkout"
USER = StatsigUser("user-1")


class Failed(Exception):
    """Something did not hold."""


def check(holds, why):
    if not holds:
        raise Failed(why)


class Cluster:
    """`meridian dev` on a data directory. It stops when this process ends, however that happens."""

    def __init__(self, binary, data_dir):
        self.binary = binary
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MERIDIAN_")}
        command = [binary, "dev", "--base-port", "0", "--output", "json", "--until-stdin-closes", "--data-dir", data_dir]
        started = time.monotonic()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"meridian dev did not start: exit code {self.process.wait(30)}, see stderr")
        self.start_s = time.monotonic() - started
        self.ready = json.loads(line)
        self.environment = environment | {
            "MERIDIAN_ENDPOINTS": ",".join(self.ready["grpc"].values()),
            "MERIDIAN_TOKEN": self.ready["operator_token"],
        }

    def meridian(self, *words):
        ran = subprocess.run([self.binary, *words], env=self.environment, capture_output=True, text=True, timeout=60)
        check(ran.returncode == 0, f"meridian {' '.join(words)}: {ran.stderr}")
        return ran.stdout

    def publish_gate(self, on):
        """Publishes the served document with the gate turned, and gives the time of the acknowledgement."""
        document = json.loads(self.meridian("get", ENVIRONMENT))
        for rule in document["feature_gates"][GATE]["rules"]:
            rule["returnValue"] = on
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(document, file)
            file.flush()
            self.meridian("publish", ENVIRONMENT, file.name, "--format", "statsig", "--message", f"{GATE}: {on}")
        return time.monotonic()

    def kill_nodes(self):
        for pid in self.ready["pids"].values():
            os.kill(pid, signal.SIGKILL)

    def stop(self):
        self.process.terminate()
        try:
            check(self.process.wait(30) == 0, f"meridian dev ended with {self.process.returncode}")
        finally:
            self.process.kill()


class Application:
    """A program that evaluates one gate."""

    def __init__(self, ready):
        address = next(iter(ready["grpc"].values()))
        adapter = SpecAdapterConfig("network_grpc_websocket", specs_url=f"http://{address}", init_timeout_ms=10_000)
        options = StatsigOptions(
            spec_adapter_configs=[adapter],
            disable_network=True,
            disable_all_logging=True,
            disable_country_lookup=True,
            disable_disk_access=True,
            init_timeout_ms=12_000,
            output_log_level="none",
        )
        self.statsig = Statsig(ready["sdk_key"], options)
        started = time.monotonic()
        self.statsig.initialize().wait()
        self.init_s = time.monotonic() - started

    def gate(self):
        return self.statsig.check_gate(USER, GATE)

    def knows_gate(self):
        """A gate that the SDK never heard of is off too: only the reason tells the difference."""
        return self.statsig.get_feature_gate(USER, GATE).details.reason.endswith(":Recognized")

    def evaluate(self, expected, for_s):
        """Evaluates all the time; every answer must be the expected one. Gives how many there were."""
        count, end = 0, time.monotonic() + for_s
        while time.monotonic() < end:
            check(self.gate() == expected, f"the gate changed after {count} evaluations of an outage")
            count += 1
            if count % 1_000 == 0:
                time.sleep(0.001)
        return count

    def wait_for(self, expected, within_s):
        """Gives the time at which the gate was first seen like this."""
        end = time.monotonic() + within_s
        while self.gate() != expected:
            check(time.monotonic() < end, f"the gate was not {expected} within {within_s} s")
            time.sleep(0.0005)
        return time.monotonic()


def run(binary, data_dir, timings):
    ms = lambda seconds: round(seconds * 1000, 1)
    cluster = Cluster(binary, data_dir)
    application = None
    try:
        timings["cluster_start_ms"] = ms(cluster.start_s)
        application = Application(cluster.ready)
        timings["init_ms"] = ms(application.init_s)
        check(application.gate() is True and application.knows_gate(), "the gate of the sample is not on after init")

        published = cluster.publish_gate(False)
        seen = application.wait_for(False, FLIP_WITHIN_S)
        # Below 0 when the push is here before the operator's command has ended: then it is too fast to tell.
        timings["flip_after_publish_ms"] = max(0.0, ms(seen - published))

        cluster.kill_nodes()
        timings["evaluations_without_any_node"] = application.evaluate(False, OUTAGE_S)
        check(application.knows_gate(), "the gate was forgotten during the outage")

        cluster.stop()
        cluster = Cluster(binary, data_dir)
        timings["cluster_restart_ms"] = ms(cluster.start_s)
        back = time.monotonic()
        cluster.publish_gate(True)
        timings["catch_up_ms"] = ms(application.wait_for(True, CATCH_UP_WITHIN_S) - back)
    finally:
        if application:
            application.statsig.shutdown().wait()
        cluster.stop()


def main():
    check(len(sys.argv) == 2, __doc__)
    result = {"sdk": "statsig-python-core", "ok": False}
    try:
        with tempfile.TemporaryDirectory() as directory:
            run(os.path.abspath(sys.argv[1]), os.path.join(directory, "cluster"), result)
        result["ok"] = True
    except (Failed, OSError, subprocess.SubprocessError) as error:
        result["why"] = str(error)
    print(json.dumps(result), flush=True)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
