/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Managed etcd that goes on from a backup (managed.h): `etcdctl snapshot restore` has put it into
 * etcd's directory, and there is no identity.
 *
 * Somebody has to accept that by a number which is good for that directory as it lies there.  Its etcd is
 * started as the only member, whoever else is named in there; the rows raise their generation
 * (aggregator/rows/restored.h), and only when that is known the identity becomes an ordinary one.  What is killed in between
 * is done again.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "aggregator/etcd/managed_priv.h"
#include "lib/log.h"

#define HEAD_SIZE 128  /* bytes of the first log: which cluster and member it is stands there */
#define NUMBER_SIZE 9  /* 8 hex digits and a NUL */

/* What lies in etcd's directory.  False: nothing that was restored. */
static bool number_of(const struct managed *m, char out[NUMBER_SIZE])
{
	struct {
		uint8_t head[HEAD_SIZE];
		int64_t words[3]; /* of the database: its size, when it was written */
	} all = { .words = { 0 } };
	char path[MANAGED_PATH_SIZE + 64];
	struct stat st;
	bool whole;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/member/wal/%016x-%016x.wal", etcd_child_data(m->child), 0u, 0u);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	whole = fd >= 0 && read(fd, all.head, HEAD_SIZE) == HEAD_SIZE;
	if (fd >= 0)
		(void)close(fd); /* it was only read */
	(void)snprintf(path, sizeof(path), "%s/member/snap/db", etcd_child_data(m->child));
	if (!whole || stat(path, &st) < 0)
		return false;
	all.words[0] = st.st_size;
	all.words[1] = st.st_mtim.tv_sec;
	all.words[2] = st.st_mtim.tv_nsec;
	(void)snprintf(out, NUMBER_SIZE, "%08" PRIx32, (uint32_t)XXH3_64bits(&all, sizeof(all)));
	return true;
}

bool managed_accepted(const struct managed *m)
{
	char number[NUMBER_SIZE];

	return m->options.accept && number_of(m, number) && strcmp(m->options.accept, number) == 0;
}

void managed_refuse(struct managed *m, enum step step)
{
	char number[NUMBER_SIZE];

	if (step == STEP_REFUSE_STRAY && number_of(m, number))
		managed_fail(m, "%s: %s; or, when it is a backup that `etcdctl snapshot restore` has put there, and all other "
			     "members of that group have ended for good, go on with what it has by --accept-loss %s",
			     m->options.dir, step_refusal(step), number);
	else
		managed_fail(m, "%s: %s", m->options.dir, step_refusal(step));
}

void managed_take_peer(struct managed *m)
{
	const struct cluster_member *own = cluster_by_id(&m->list, m->id.etcd_id);

	if (!m->id.restored || !own)
		return;
	/* Another one than now is told to the cluster, as after every move. */
	(void)snprintf(m->id.peer, sizeof(m->id.peer), "%s", own->peer);
}

void managed_settle(struct managed *managed, const char *group)
{
	if (!managed->id.restored)
		return;
	managed->id.restored = false;
	(void)snprintf(managed->id.group, sizeof(managed->id.group), "%s", group);
	if (managed_save(managed)) /* else that is the end */
		log_warn("the group goes on from a restored backup", "group=%s member=%s cluster=%016" PRIx64, managed->id.group,
			 managed->id.member, managed->id.cluster_id);
}
