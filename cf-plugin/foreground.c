/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See foreground.h.  Called by cmd_run.c.
 *
 * All signals of interest are blocked and taken by sigwaitinfo(), so nothing
 * runs in a handler and nothing is lost between fork and wait.
 */
#include "cf-plugin/foreground.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TTY STDIN_FILENO

/* Signals that are the command's. */
static const int forwarded[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 };
#define N_FORWARDED (sizeof(forwarded) / sizeof(forwarded[0]))

/* A command under way. */
struct job {
	const struct foreground *what; /* the caller's */
	const sigset_t *old;           /* mask that the command gets */
	pid_t pid;                     /* of the command */
	bool own_group;                /* it leads a process group and has the terminal */
	bool lent;                     /* the terminal is with its group */
	int status;                    /* from waitpid(), once `ended` */
	bool ended;                    /* it is reaped */
};

/* SIGTTOU blocked lets tcsetpgrp() work from the background. */
void foreground_block(sigset_t *ret_old)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < N_FORWARDED; i++)
		sigaddset(&set, forwarded[i]);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTTOU);
	sigprocmask(SIG_BLOCK, &set, ret_old);
}

/* In the child, which never returns. */
static void become(struct job *job)
{
	int wrong;

	if (job->own_group) {
		(void)setpgid(0, 0); /* the parent does it as well: whoever is first */
		(void)tcsetpgrp(TTY, getpid());
	}
	job->what->prepare(job->what->ctx);
	sigprocmask(SIG_SETMASK, job->old, NULL);
	execvp(job->what->argv[0], job->what->argv);
	wrong = errno;
	fprintf(stderr, "middlepipe run: %s: %s\n", job->what->argv[0],
		wrong == ENOENT ? "command not found" : strerror(wrong));
	fflush(stderr);
	_exit(wrong == ENOENT ? FOREGROUND_NOT_FOUND : FOREGROUND_NOT_EXECUTABLE);
}

static bool owns_terminal(void)
{
	return isatty(TTY) && tcgetpgrp(TTY) == getpgrp();
}

static void take_back(struct job *job)
{
	if (job->lent)
		(void)tcsetpgrp(TTY, getpgrp()); /* a terminal that is gone is no loss */
	job->lent = false;
}

/* Lets the command go on, in front when we are in front. */
static void resume(struct job *job)
{
	if (owns_terminal()) {
		(void)tcsetpgrp(TTY, job->pid);
		job->lent = true;
	}
	(void)kill(-job->pid, SIGCONT);
}

static void discard(int signal)
{
	const struct timespec now = { 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signal);
	while (sigtimedwait(&set, NULL, &now) > 0)
		continue;
}

/*
 * The command was stopped: stop, too, with our whole group, as the terminal
 * would have done.  In an orphaned group nobody could wake us: the kernel
 * ignores SIGTSTP there, and the command goes on at once.
 */
static void stop_too(struct job *job)
{
	sigset_t set;

	take_back(job);
	sigemptyset(&set);
	sigaddset(&set, SIGTSTP);
	(void)kill(0, SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &set, NULL); /* here we stand still */
	sigprocmask(SIG_BLOCK, &set, NULL);
	discard(SIGCONT);
	resume(job);
}

/*
 * It asked for the terminal from the background, and by now a shell has put us
 * in front: it gets what it asked for.
 */
static void follow_stop(struct job *job, int signal)
{
	if ((signal == SIGTTIN || signal == SIGTTOU) && owns_terminal())
		resume(job);
	else
		stop_too(job);
}

static void reap(struct job *job)
{
	int status;

	while (!job->ended &&
	       waitpid(job->pid, &status, WNOHANG | (job->own_group ? WUNTRACED : 0)) > 0) {
		if (WIFSTOPPED(status)) {
			follow_stop(job, WSTOPSIG(status));
			continue;
		}
		job->status = status;
		job->ended = true;
	}
	job->what->child(job->what->ctx);
}

/* ^C at the terminal reaches a command in our group without us. */
static bool is_shared(const struct job *job, const siginfo_t *info)
{
	return !job->own_group && info->si_code == SI_KERNEL &&
	       (info->si_signo == SIGINT || info->si_signo == SIGQUIT);
}

static void take_signal(struct job *job, const siginfo_t *info)
{
	if (info->si_signo == SIGCHLD)
		reap(job);
	else if (info->si_signo == SIGCONT)
		resume(job);
	else if (info->si_signo == SIGTSTP)
		(void)kill(-job->pid, SIGTSTP); /* and we follow when it has stopped */
	else if (info->si_signo != SIGTTOU && !is_shared(job, info))
		(void)kill(job->pid, info->si_signo); /* not reaped yet, so it is ours */
}

static void wait_end(struct job *job)
{
	sigset_t set;
	siginfo_t info;

	sigemptyset(&set);
	for (size_t i = 0; i < N_FORWARDED; i++)
		sigaddset(&set, forwarded[i]);
	sigaddset(&set, SIGCHLD);
	if (job->own_group) {
		sigaddset(&set, SIGTSTP);
		sigaddset(&set, SIGCONT);
		sigprocmask(SIG_BLOCK, &set, NULL);
	}
	while (!job->ended) {
		if (sigwaitinfo(&set, &info) > 0)
			take_signal(job, &info);
	}
}

int foreground_run(const struct foreground *foreground, const sigset_t *old)
{
	struct job job = { .what = foreground, .old = old, .own_group = owns_terminal() };

	fflush(NULL);
	job.pid = fork();
	if (job.pid < 0) {
		perror("middlepipe run: fork");
		return FOREGROUND_NOT_EXECUTABLE;
	}
	if (!job.pid)
		become(&job);
	if (job.own_group) {
		(void)setpgid(job.pid, job.pid); /* fails once it has become the command */
		job.lent = true;
	}
	wait_end(&job);
	take_back(&job);
	return WIFSIGNALED(job.status) ? FOREGROUND_SIGNAL + WTERMSIG(job.status) :
					 WEXITSTATUS(job.status);
}
