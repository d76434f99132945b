/*
 * An operation from its beginning to its end, kept by thread id in between. Used alike by every tier.
 */
#ifndef TERRACE_FOLLOW_H
#define TERRACE_FOLLOW_H

#include "count.h"

/* What was entered; 0 is a system call, the rest are functions of the kernel. */
enum hook {
	HOOK_CALL = 0,
	HOOK_READ,
	HOOK_WRITE,
	HOOK_READV,
	HOOK_WRITEV,
	HOOK_FSYNC,
	HOOK_SYNC_RANGE,
	HOOK_ITERATE,
	HOOK_FAULT,
	HOOK_COPY,
	HOOK_SPLICE,
	HOOK_SPLICE_DIRECT,
	HOOK_SPLICE_TO_PIPE,
};

static __always_inline struct under_way *own_place(u32 *tid)
{
	u32 index;

	*tid = (u32)get_current_pid_tgid();
	index = *tid & thread_mask;
	return map_lookup(&threads, &index);
}

static __always_inline u64 ran(struct task_struct *task)
{
	return GET(task, se.sum_exec_runtime);
}

/* Takes this thread's place in the table. 0: another thread is in it. */
static __always_inline int take(struct under_way *mine, u32 tid)
{
	if (mine->owner == tid)
		return 1;
	if (has_fetch)
		return __sync_val_compare_and_swap(&mine->owner, 0, tid) == 0;
	if (mine->owner)
		return 0;
	mine->owner = tid;
	return 1;
}

/* A hook, how it came, and what it is to the first and the second file. */
#define HOW(hook, path, first, second) ((hook) | (path) << 8 | (first) << 16 | (u32)(second) << 24)

/* include/linux/sched.h */
#define PF_IO_WORKER 0x10 /* 5.12 */
#define PF_WQ_WORKER 0x20

/* Of io_uring and libaio syncs are done by threads of theirs. */
static __always_inline u8 path_of_sync(struct task_struct *task, u8 path)
{
	u32 flags = GET(task, flags);

	return flags & PF_IO_WORKER ? IO_URING : flags & PF_WQ_WORKER ? AIO : path;
}

/*
 * `depth` is an address on the thread's stack, 0 for a system call. What begins no deeper than what is under way is not within
 * that: its end was missed, as kretprobes and preempted programs are now and then.
 */
static noinline int begin(u32 how, struct file *first, struct file *second, u64 depth)
{
	u8 hook = how, path = how >> 8, first_is = how >> 16, second_is = how >> 24;
	struct side sides[2] = {};
	struct task_struct *task;
	struct under_way *mine;
	int found = 0;
	u32 tid;

	mine = own_place(&tid);
	if (!mine)
		return 0;
	if (mine->owner == tid) {
		if (depth && depth < mine->stack) {
			/* Within another operation of this thread: that one counts. */
			if (mine->hook == hook)
				mine->depth += 1;
			return 0;
		}
		miss(UNMATCHED);
		mine->owner = 0;
	}
	if (first)
		found |= place(&sides[0], first, first_is);
	if (second)
		found |= place(&sides[1], second, second_is);
	if (!found)
		return 0;
	if (!take(mine, tid)) {
		miss(COLLISION);
		return 0;
	}
	task = (struct task_struct *)get_current_task();
	if (hook == HOOK_FSYNC || hook == HOOK_SYNC_RANGE)
		path = path_of_sync(task, path);
	mine->path = path;
	mine->hook = hook;
	mine->depth = 0;
	mine->stack = depth ? depth : ~0ULL;
	mine->sides[0] = sides[0];
	mine->sides[1] = sides[1];
	mine->ran = ran(task);
	mine->slept = GET(task, nvcsw);
	mine->start = ktime_get_ns();
	return 0;
}

/* What `path` says of a thread that is renaming something. */
#define RENAMING 0xff

/* A rename by a system call: what was known until it ends may be wrong. If its end will not be seen, its beginning has to do. */
static __always_inline void rename_begins(void)
{
	struct under_way *mine;
	u32 tid;

	mine = own_place(&tid);
	if (!mine || !take(mine, tid)) {
		moved();
		return;
	}
	mine->hook = HOOK_CALL;
	mine->path = RENAMING;
	mine->depth = 0;
	mine->stack = ~0ULL;
	mine->sides[0].used = 0;
	mine->sides[1].used = 0;
}

static noinline int end(u32 hook, s64 result)
{
	struct task_struct *task;
	struct ended ended = {};
	struct under_way *mine;
	u32 tid;

	mine = own_place(&tid);
	if (!mine || mine->owner != tid || mine->hook != hook)
		return 0;
	if (mine->depth) {
		mine->depth -= 1;
		return 0;
	}
	if (mine->path == RENAMING) {
		moved();
		mine->owner = 0;
		return 0;
	}
	ended.duration = ktime_get_ns() - mine->start;
	task = (struct task_struct *)get_current_task();
	ended.start = mine->start;
	ended.result = result;
	ended.ran = ran(task) - mine->ran;
	ended.blocked = GET(task, nvcsw) != mine->slept;
	ended.path = mine->path;
	ended.is_own = 1;
	if (mine->sides[0].used)
		count(&mine->sides[0], &ended);
	if (mine->sides[1].used)
		count(&mine->sides[1], &ended);
	barrier();
	mine->owner = 0;
	return 0;
}

#endif
