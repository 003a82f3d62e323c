# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus server on a real gateway: what docs/ has for it, the dashboard and the alerts."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import urllib.parse

import pytest

from harness import ROOT, Client, Gateway, eventually, new_port

RULES = ROOT / "docs/prometheus/quicport.rules.yml"
RULE_TESTS = ROOT / "docs/prometheus/quicport.rules.test.yml"
DASHBOARD = json.loads((ROOT / "docs/grafana/quicport.json").read_text())
LO = "127.0.0.1"
needs_prometheus = pytest.mark.skipif(not shutil.which("prometheus"), reason="needs prometheus")


def expressions():
    """(panel, expression) of the dashboard, with its variables filled in."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            text = target["expr"].replace("$job", "quicport").replace("$instance", ".+")
            yield panel["title"], text.replace("$__rate_interval", "5s")


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool")
@pytest.mark.parametrize("words", [("check", "rules", RULES), ("test", "rules", RULE_TESTS)])
def test_promtool_accepts(words):
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_test():
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    tested = re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n", RULE_TESTS.read_text())
    assert alerts and set(alerts) == set(tested)


def test_panels_do_not_overlap_and_have_ids_of_their_own():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = set()
    for panel in panels:
        at = panel["gridPos"]
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])}  # fmt: skip
        assert not mine & cells and at["x"] + at["w"] <= 24, panel["title"]
        cells |= mine


class Prometheus:
    def __init__(self, host, folder, gateway_port):
        self.host, self.port = host, new_port()
        config = folder / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\n"
            f"rule_files: [{RULES}]\n"
            "scrape_configs:\n"
            "  - job_name: quicport\n"
            f"    static_configs: [{{targets: ['{LO}:{gateway_port}']}}]\n"
        )
        self.process = host.start(
            "prometheus", "prometheus", f"--config.file={config}",
            f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address={LO}:{self.port}",
        )  # fmt: skip
        self.process.wait_for_line("Server is ready")

    def get(self, path, **query):
        with self.host.inside():
            connection = http.client.HTTPConnection(LO, self.port, timeout=10)
            connection.connect()
        try:
            connection.request("GET", f"{path}?{urllib.parse.urlencode(query)}")
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, text):
        return self.get("/api/v1/query", query=text)["result"]

    def firing(self):
        alerts = self.get("/api/v1/alerts")["alerts"]
        return {a["labels"]["alertname"] for a in alerts if a["state"] == "firing"}


@needs_prometheus
def test_server_reads_a_gateway_draws_the_dashboard_and_alerts(host, tmp_path):
    gateway = Gateway(host, new_port(), "--audit-log", str(tmp_path / "audit.jsonl"))
    outside, inside = new_port(), new_port()
    host.service(LO, inside, "--echo")
    Client(host, f"{LO}:{gateway.port}", outside, inside, reconnect=True).opens(host, LO, outside)
    server = Prometheus(host, tmp_path, gateway.port)
    up = 'up{job="quicport"} == 1'
    eventually(lambda: server.query(up), what="the gateway is scraped")
    assert host.load(LO, outside, "--echo", "--send", 1000000, "--half-close")["ok"] == 1
    eventually(lambda: server.query("rate(quicport_bytes_sent_total[5s]) > 0"), what="its traffic")

    for title, text in expressions():
        eventually(lambda text=text: server.query(text), what=f"{title}: {text}")

    rules = [rule for group in server.get("/api/v1/rules")["groups"] for rule in group["rules"]]
    eventually(
        lambda: {rule["health"] for group in server.get("/api/v1/rules")["groups"]
                 for rule in group["rules"]} == {"ok"},
        what="all rules are evaluated",
    )  # fmt: skip
    assert len(rules) == len(re.findall(r"- (?:alert|record):", RULES.read_text()))
    known = set(server.get("/api/v1/label/__name__/values"))
    used = set(re.findall(r"quicport_\w+", RULES.read_text().split("annotations", 1)[0]))
    used |= {name for _, text in expressions() for name in re.findall(r"quicport_\w+", text)}
    for rule in rules:
        used |= set(re.findall(r"\bquicport_\w+", rule["query"]))
    assert used - known == set()
    assert server.firing() == set()

    (info,) = server.query('quicport_data_plane_info{state="ACTIVE"} == 1')
    assert info["metric"]["job"] == "quicport"
    data_plane = [pid for pid in gateway.members()
                  if os.readlink(f"/proc/{pid}/exe").endswith("quicport-data-plane")]  # fmt: skip
    os.kill(data_plane[0], signal.SIGKILL)
    eventually(lambda: "QuicportDataPlaneDied" in server.firing(), what="the alert of a death")
