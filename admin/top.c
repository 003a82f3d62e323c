/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `quicport admin top`: a live screen. One loop waits for keys, the event stream
 * and the pages of the tunnels; nothing blocks, so that q always works. Main thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "admin/commands.h"
#include "admin/sse.h"
#include "admin/term.h"
#include "admin/top_draw.h"
#include "common/clock.h"

#define PAGE_ROWS 1000
#define RETRY_MS 2000
#define TICK_MS 200 /* a resize is seen within */

struct screen {
	const struct qpa_command *c;
	struct qpa_options o;
	uint32_t interval_s;
	bool once;
	struct qpa_api *api;
	CURLM *multi;
	struct qpa_call *call;     /* a page of the tunnels, or NULL */
	struct qpa_stream *stream; /* or NULL */
	struct qpa_sse sse;
	json_t *args;
	int64_t look_at_ms, stream_at_ms; /* when to begin the next; monotonic */
	struct qpa_top top;
	struct qpa_top_view view;
	struct qp_errmsg trouble;
	bool quit, dirty;
	int failed; /* of --once: the code of what went wrong */
};

static int64_t
now_ms(void)
{
	return (int64_t)(qp_now_ns() / 1000000u);
}

/* What went wrong stays in the last line until something comes again; --once ends by it. */
static void
fail(struct screen *s, int err)
{
	s->view.trouble = s->trouble.text;
	s->dirty = true;
	if (s->once) {
		s->failed = err;
		s->quit = true;
	}
}

/* The event stream. */

static bool
on_event(void *ctx, const char *type, const char *text)
{
	struct screen *s = ctx;
	json_t *data;

	if (strcmp(type, "stats") != 0)
		return true;
	data = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(data) && !s->view.paused) {
		qpa_top_stats(&s->top, data);
		s->dirty = true;
	}
	json_decref(data);
	return true;
}

static bool
on_bytes(void *ctx, const char *bytes, size_t len)
{
	struct screen *s = ctx;

	return qpa_sse_take(&s->sse, bytes, len);
}

static void
begin_stream(struct screen *s)
{
	qpa_sse_free(&s->sse);
	s->sse = (struct qpa_sse) {.event = on_event, .ctx = s};
	s->stream = qpa_stream_begin(s->api, "/api/v1/events", "", on_bytes, s);
	if (s->stream != NULL)
		curl_multi_add_handle(s->multi, qpa_stream_handle(s->stream));
	s->stream_at_ms = now_ms() + RETRY_MS;
}

static void
end_stream(struct screen *s, CURLcode code)
{
	int err;

	curl_multi_remove_handle(s->multi, qpa_stream_handle(s->stream));
	err = qpa_stream_end(s->stream, code, &s->trouble);
	s->stream = NULL;
	s->stream_at_ms = now_ms() + RETRY_MS;
	if (err == QP_OK)
		err = qp_fail(&s->trouble, QP_E_CLOSED, "%s ended the stream of events", s->o.api);
	fail(s, err);
}

/* The tunnels. */

static void
ask_page(struct screen *s)
{
	s->call = qpa_call_begin(s->api, "ListTunnels", s->args);
	if (s->call != NULL)
		curl_multi_add_handle(s->multi, qpa_call_handle(s->call));
}

static void
begin_look(struct screen *s)
{
	json_decref(s->args);
	s->args = json_pack("{s:i}", "limit", PAGE_ROWS);
	s->look_at_ms = now_ms() + (int64_t)s->interval_s * 1000;
	if (s->args != NULL && qpa_top_begin(&s->top, now_ms()))
		ask_page(s);
}

static void
take_page(struct screen *s, const json_t *answer)
{
	const json_t *cursor = json_object_get(answer, "next_cursor");

	qpa_top_page(&s->top, json_object_get(answer, "tunnels"));
	if (json_is_string(cursor) && !s->top.cut &&
		!json_equal(cursor, json_object_get(s->args, "cursor"))) {
		json_object_set(s->args, "cursor", (json_t *)(uintptr_t)cursor);
		ask_page(s);
	} else if (qpa_top_finish(&s->top, time(NULL))) {
		qpa_top_sort(&s->top, s->view.key, s->view.reverse);
		if (s->stream != NULL) /* else its trouble stays to be read */
			s->view.trouble = NULL;
		s->dirty = true;
	}
}

static void
end_call(struct screen *s, CURLcode code)
{
	json_t *answer;
	int err;

	curl_multi_remove_handle(s->multi, qpa_call_handle(s->call));
	err = qpa_call_end(s->call, code, &answer, &s->trouble);
	s->call = NULL;
	if (err == QP_OK)
		take_page(s, answer);
	else
		fail(s, err);
	json_decref(answer);
}

static void
take_ended(struct screen *s)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(s->multi, &left)) != NULL) {
		CURL *which = m->easy_handle;
		CURLcode code = m->data.result;

		if (m->msg != CURLMSG_DONE)
			continue;
		if (s->stream != NULL && which == qpa_stream_handle(s->stream))
			end_stream(s, code);
		else if (s->call != NULL && which == qpa_call_handle(s->call))
			end_call(s, code);
	}
}

/* Keys and frames. */

static void
move_to(struct screen *s, int64_t first)
{
	int64_t room = (int64_t)qpa_top_room(&s->view), last = (int64_t)s->top.n - room;

	if (first > last)
		first = last;
	s->view.first = first > 0 ? (size_t)first : 0;
}

static void
sort_by(struct screen *s, enum qpa_top_key key)
{
	s->view.key = key;
	qpa_top_sort(&s->top, key, s->view.reverse);
	s->view.first = 0;
}

static void
on_key(struct screen *s, int key)
{
	int64_t first = (int64_t)s->view.first, room = (int64_t)qpa_top_room(&s->view);

	if (key == 'q' || key == 'Q' || key == QPA_KEY_GONE)
		s->quit = true;
	else if (key == 'R') {
		s->view.reverse = !s->view.reverse;
		sort_by(s, s->view.key);
	} else if (key == ' ' || key == 'p')
		s->view.paused = !s->view.paused;
	else if (key == '?' || key == 'h' || (key == 0x1b && s->view.help))
		s->view.help = !s->view.help;
	else if (key < 128 && key > 0 && strchr("iocnru", key) != NULL)
		sort_by(s, (enum qpa_top_key)key);
	else if (key == QPA_KEY_UP || key == 'k')
		move_to(s, first - 1);
	else if (key == QPA_KEY_DOWN || key == 'j')
		move_to(s, first + 1);
	else if (key == QPA_KEY_PAGE_UP || key == QPA_KEY_PAGE_DOWN)
		move_to(s, key == QPA_KEY_PAGE_UP ? first - room : first + room);
	else if (key == QPA_KEY_HOME || key == QPA_KEY_END)
		move_to(s, key == QPA_KEY_HOME ? 0 : INT32_MAX);
	s->dirty = true;
}

static void
write_all(const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, text, len);

		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

/* One write a frame: nothing flickers, and a slow line gets whole frames. */
static void
draw(struct screen *s)
{
	char *text = NULL;
	size_t len = 0;
	FILE *frame = open_memstream(&text, &len);

	if (frame == NULL)
		return;
	qpa_term_size(&s->view.columns, &s->view.rows);
	move_to(s, (int64_t)s->view.first);
	fputs("\x1b[H", frame);
	/* Each line wipes its rest, the last one what is below. */
	qpa_top_draw(&s->top, &s->view, "\x1b[K\r\n", frame);
	fputs("\x1b[K\x1b[J", frame);
	if (fclose(frame) == 0)
		write_all(text, len);
	free(text);
	s->dirty = false;
}

static void
do_what_is_due(struct screen *s)
{
	int64_t now = now_ms();

	if (s->stream == NULL && now >= s->stream_at_ms)
		begin_stream(s);
	if (s->call == NULL && now >= s->look_at_ms && !s->view.paused)
		begin_look(s);
}

static void
wait_for_something(struct screen *s)
{
	struct curl_waitfd keys = {.fd = STDIN_FILENO, .events = CURL_WAIT_POLLIN};
	int running;

	curl_multi_poll(s->multi, s->once ? NULL : &keys, s->once ? 0 : 1, TICK_MS, NULL);
	curl_multi_perform(s->multi, &running);
	take_ended(s);
}

static void
run_screen(struct screen *s)
{
	s->dirty = true;
	while (!s->quit) {
		int key;

		do_what_is_due(s);
		if (s->dirty || qpa_term_changed())
			draw(s);
		wait_for_something(s);
		while (!s->quit && (key = qpa_term_key()) != QPA_KEY_NONE)
			on_key(s, key);
	}
	qpa_term_leave();
}

/* Two looks, so that there are rates. */
static void
run_once(struct screen *s)
{
	while (!s->quit && (s->top.looks < 2 || s->top.stats == NULL)) {
		do_what_is_due(s);
		wait_for_something(s);
	}
	if (!s->quit)
		qpa_top_draw(&s->top, &s->view, "\n", stdout);
}

static void
clean_up(struct screen *s)
{
	struct qp_errmsg none;
	json_t *answer = NULL;

	if (s->stream != NULL) {
		curl_multi_remove_handle(s->multi, qpa_stream_handle(s->stream));
		(void)!qpa_stream_end(s->stream, CURLE_ABORTED_BY_CALLBACK, &none);
	}
	if (s->call != NULL) {
		curl_multi_remove_handle(s->multi, qpa_call_handle(s->call));
		(void)!qpa_call_end(s->call, CURLE_ABORTED_BY_CALLBACK, &answer, &none);
	}
	curl_multi_cleanup(s->multi);
	qpa_sse_free(&s->sse);
	json_decref(s->args);
	qpa_top_free(&s->top);
	qpa_api_close(s->api);
}

static int
run(struct screen *s)
{
	int err = qpa_api_open(&s->o, &s->api, &s->trouble);

	if (err == QP_OK && (s->multi = curl_multi_init()) == NULL)
		err = qp_fail(&s->trouble, QP_E_NOMEM, "out of memory");
	if (err == QP_OK && !s->once)
		err = qpa_term_enter(&s->trouble);
	if (err != QP_OK) {
		clean_up(s);
		return qpa_complain(s->c, err == QP_E_UNSUPPORTED ? QP_E_INVAL : err, &s->trouble);
	}
	s->view.api = s->o.api;
	if (s->once)
		run_once(s);
	else
		run_screen(s);
	err = s->failed;
	clean_up(s);
	return err == QP_OK ? qpa_finish(s->c, QPA_EXIT_OK) : qpa_complain(s->c, err, &s->trouble);
}

int
qpa_top_run(const struct qpa_command *c, int argc, char **argv)
{
	static const char *const names[] = {"in", "out", "connections", "name", "rtt", "up", NULL};
	static const char keys[] = "iocnru";
	struct screen s = {.c = c};
	int key = 0;
	const struct qp_opt opts[] = {
		QPA_OPTIONS_API(&s.o),
		QP_OPT_GROUP("What is shown:"),
		{.name = "sort", .arg = "BY", .fallback = "in", .env = "", .choices = names,
			.help = "in, out, connections, name, rtt or up", .parse = qp_opt_choice, .value = &key},
		{.name = "interval", .arg = "SECONDS", .fallback = "1", .min = 1, .max = 3600, .env = "",
			.help = "look so often", .parse = qp_opt_u32, .value = &s.interval_s},
		{.name = "once", .env = "", .help = "print it one time; needs no terminal",
			.parse = qp_opt_flag, .value = &s.once},
		{0},
	};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .opts = opts,
		.summary = "Shows the gateway live: figures, data planes, and the tunnels by what they "
			   "carry.",
		.epilogue = "Keys: q quit; i o c n r u sort by in, out, connections, name, round-trip time,\n"
			    "up; R the other way round; arrows, page up and down, home, end; space pause; ? help.\n"};

	qp_opt_parse_or_exit(&cmd, argc, argv);
	s.view = (struct qpa_top_view) {.columns = 160, .key = (enum qpa_top_key)keys[key],
		.colors = !s.once && qpa_show_has_colors()};
	return run(&s);
}
