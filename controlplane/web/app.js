// SPDX-License-Identifier: Apache-2.0
// The gateway's page: draws what the private API says. One stream of events, and one table that is
// asked for as it is looked at.

import { addEvent } from "./events.js";
import { showStats } from "./figures.js";
import { askToReload } from "./questions.js";
import { $, say } from "./show.js";
import { follow } from "./stream.js";
import "./table.js";

say($("host"), location.host);
$("reload").addEventListener("click", askToReload);

follow((type, data) => {
	if (type === "stats") {
		if (typeof data.time_ms === "number" && data.rates) showStats(data);
		return;
	}
	addEvent(type, data);
	if (/^(tunnel|port|policy)/.test(type)) document.dispatchEvent(new Event("changed"));
});
