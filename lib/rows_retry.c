/* SPDX-License-Identifier: Apache-2.0 */
/* See rows_retry.h. */
#include "lib/rows_retry.h"

#define PAUSE_MS 20          /* the first, before chance */
#define PAUSE_MAX_MS 1000
#define DEAD_MS 50           /* a member that does not answer is left alone, doubled each time */
#define DEAD_MAX_MS 2000
#define BUSY_MS 100          /* without Retry-After */
#define RETRY_AFTER_MAX_MS 60000

/* What an answer says of the request. */
enum answer {
	DONE,
	REFUSED,  /* decided behind the search for the key: a key that was there is seen */
	REUSED,   /* the key is somebody else's: none of ours can be applied */
	GONE,
	ABSENT,
	REJECTED, /* decided before the search for the key: says nothing of earlier attempts */
	BUSY,     /* not attempted */
	OPEN,     /* nobody knows */
};

static const struct {
	int status;
	enum answer answer;
} answers[] = {
	{ 200, DONE }, { 201, DONE }, { 404, ABSENT }, { 408, BUSY }, { 409, REFUSED }, { 410, GONE },
	{ 412, REFUSED }, { 422, REUSED }, { 429, BUSY }, { 503, BUSY }, { 507, REJECTED },
};

/* What follows of it. */
enum act {
	AGAIN,
	SETTLE, /* again when no open attempt can be applied any more */
	FINISH, /* with the outcome that belongs to the answer */
	LOST,   /* nobody can know */
};

/* By what has become of earlier attempts: none is open; some are; those that were cannot be applied any more. */
enum earlier { NONE_OPEN, SOME_OPEN, EXPIRED };

static const enum act acts[][3] = {
	[DONE] = { FINISH, FINISH, FINISH },
	[REFUSED] = { FINISH, SETTLE, FINISH },
	[REUSED] = { FINISH, FINISH, FINISH },
	[GONE] = { FINISH, LOST, LOST },
	[ABSENT] = { FINISH, AGAIN, AGAIN },
	[REJECTED] = { FINISH, AGAIN, AGAIN },
	[BUSY] = { AGAIN, AGAIN, AGAIN },
	[OPEN] = { AGAIN, AGAIN, AGAIN },
};

static const enum rows_outcome outcomes[] = {
	[DONE] = ROWS_OK, [REFUSED] = ROWS_REFUSED, [REUSED] = ROWS_REFUSED, [GONE] = ROWS_GONE,
	[ABSENT] = ROWS_NOT_THERE, [REJECTED] = ROWS_REJECTED, [BUSY] = ROWS_UNAVAILABLE, [OPEN] = ROWS_UNKNOWN,
};

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* `first` doubled so often, at most `most`, half of it by chance. */
static uint64_t grown(uint64_t first, uint32_t times, uint64_t most, uint32_t random)
{
	uint64_t whole = least(first << (times < 16 ? times : 16), most);

	return whole / 2 + random % (whole / 2 + 1);
}

uint64_t rows_pause(uint32_t tries, size_t n_members, uint32_t random)
{
	uint32_t n = n_members ? (uint32_t)n_members : 1;

	if (tries % n)
		return 0;
	return tries ? grown(PAUSE_MS, tries / n - 1, PAUSE_MAX_MS, random) : 0;
}

/* -------------------------------------------------------------------- members */

size_t rows_members_pick(const struct rows_members *members, size_t prefer, size_t last, uint64_t now,
			 uint32_t random, uint64_t *ret_until)
{
	size_t n = members->n, found = ROWS_NOBODY;

	*ret_until = UINT64_MAX;
	if (prefer < n && prefer != last && members->all[prefer].not_before <= now)
		return prefer;
	for (size_t i = 0; i < n; i++) {
		size_t at = (random % n + i) % n;

		if (members->all[at].not_before > now)
			*ret_until = least(*ret_until, members->all[at].not_before);
		else if (found == ROWS_NOBODY || found == last)
			found = at;
	}
	return found;
}

void rows_members_told(struct rows_members *members, size_t member, bool answered, uint64_t now, uint32_t random)
{
	struct rows_member *m = &members->all[member];

	if (answered) {
		m->failures = 0;
		return;
	}
	if (now < m->not_before)
		return; /* many were under way when it went: that is one failure */
	m->not_before = now + grown(DEAD_MS, m->failures, DEAD_MAX_MS, random);
	m->failures++;
}

/* -------------------------------------------------------------------- attempts */

void rows_retry_begin(struct rows_retry *r, enum rows_retry_kind kind, const struct rows_times *times,
		      uint64_t deadline)
{
	*r = (struct rows_retry){ .kind = kind, .times = *times, .deadline = deadline, .member = ROWS_NOBODY };
}

enum rows_outcome rows_retry_give_up(const struct rows_retry *r, bool under_way)
{
	return r->kind != ROWS_RETRY_READ && (under_way || r->open_until) ? ROWS_UNKNOWN : ROWS_UNAVAILABLE;
}

static struct rows_step wait_until(const struct rows_retry *r, uint64_t until)
{
	return (struct rows_step){ .act = ROWS_WAIT, .until = least(until, r->deadline) };
}

static struct rows_step end(enum rows_outcome outcome)
{
	return (struct rows_step){ .act = ROWS_END, .outcome = outcome };
}

struct rows_step rows_retry_next(struct rows_retry *r, const struct rows_members *members, size_t prefer,
				 uint64_t now, uint32_t random)
{
	uint64_t until;
	size_t member;

	if (now >= r->deadline)
		return end(rows_retry_give_up(r, false));
	if (now < r->not_before)
		return wait_until(r, r->not_before);
	member = rows_members_pick(members, prefer, r->member, now, random, &until);
	if (member == ROWS_NOBODY)
		return wait_until(r, until);
	r->member = member;
	r->sent_at = now;
	r->tries++;
	return (struct rows_step){ .act = ROWS_SEND, .member = member,
				   .limit = least(r->times.attempt, r->deadline - now) };
}

static enum answer answer_of(const struct rows_said *said)
{
	if (!said->status)
		return said->sent ? OPEN : BUSY;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
		if (answers[i].status == said->status)
			return answers[i].answer;
	return said->status >= 400 && said->status < 500 ? REJECTED : OPEN;
}

static enum earlier earlier_of(const struct rows_retry *r)
{
	if (!r->open_until)
		return NONE_OPEN;
	return r->sent_at >= r->open_until ? EXPIRED : SOME_OPEN;
}

/* Who wants to be left alone, and for how long. */
static void heed(struct rows_retry *r, struct rows_members *members, const struct rows_said *said, uint64_t now,
		 uint32_t random)
{
	uint64_t until = now + (said->retry_after_ms ? least(said->retry_after_ms, RETRY_AFTER_MAX_MS) : BUSY_MS);

	rows_members_told(members, r->member, said->status != 0, now, random);
	r->not_before = now + rows_pause(r->tries, members->n, random);
	if (said->status == 429 && until > r->not_before)
		r->not_before = until; /* it is about the row: nobody takes it */
	else if (said->status == 503 && !said->elsewhere && members->all[r->member].not_before < until)
		members->all[r->member].not_before = until;
}

struct rows_step rows_retry_answer(struct rows_retry *r, struct rows_members *members,
				   const struct rows_said *said, uint64_t now, uint32_t random)
{
	enum answer answer = answer_of(said);
	enum act act = acts[answer][earlier_of(r)];

	heed(r, members, said, now, random);
	if (answer == OPEN && r->kind != ROWS_RETRY_READ) {
		uint64_t until = r->sent_at + r->times.open;

		if (r->kind == ROWS_RETRY_ONCE)
			act = LOST;
		r->open_until = until > r->open_until ? until : r->open_until;
	}
	if (act == FINISH)
		return end(outcomes[answer]);
	if (act == LOST)
		return end(ROWS_UNKNOWN);
	if (act == SETTLE && r->open_until > r->not_before)
		r->not_before = r->open_until;
	return wait_until(r, r->not_before);
}
