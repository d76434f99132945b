/*
 * The tier that works on locked-down kernels too: raw tracepoints of system calls (4.17).
 */
#ifndef TERRACE_CALLS_H
#define TERRACE_CALLS_H

#include "follow.h"

/* The descriptor is looked up as the kernel does. Another thread may close and open it in between: then it is the older one. */
static __always_inline struct file *file_of(struct task_struct *task, u32 fd)
{
	struct files_struct *files = GET(task, files);
	struct fdtable *table = GET(files, fdt);
	struct file **open = GET(table, fd);
	struct file *file = 0;

	if (fd >= GET(table, max_fds))
		return 0;
	probe_read_kernel(&file, sizeof(file), open + fd);
	return file;
}

#if defined(__TARGET_ARCH_x86)
#define X32_BIT 0x40000000
#define TS_COMPAT 2
static __always_inline int is_compat(struct task_struct *task)
{
	return GET(task, thread_info.status) & TS_COMPAT;
}

static __always_inline u64 argument(struct pt_regs *regs, int number, int compat)
{
	if (compat)
		return number == 0 ? (u32)GET(regs, bx) : number == 1 ? (u32)GET(regs, cx) : (u32)GET(regs, dx);
	return number == 0 ? GET(regs, di) : number == 1 ? GET(regs, si) : GET(regs, dx);
}
#elif defined(__TARGET_ARCH_arm64)
#define X32_BIT 0
#define TIF_32BIT 22
static __always_inline int is_compat(struct task_struct *task)
{
	return (GET(task, thread_info.flags) >> TIF_32BIT) & 1;
}

static __always_inline u64 argument(struct pt_regs *regs, int number, int compat)
{
	return number == 0 ? GET(regs, regs[0]) : number == 1 ? GET(regs, regs[1]) : GET(regs, regs[2]);
}
#endif

/* Only what would have been counted is missed. */
static __always_inline void miss_compat(struct task_struct *task, struct pt_regs *regs)
{
	struct file *file = file_of(task, argument(regs, 0, 1));
	struct side side = {};

	if (file && place(&side, file, READ))
		miss(COMPAT);
}

SEC("raw_tracepoint/sys_enter")
int call_begins(struct raw_tracepoint *ctx)
{
	struct pt_regs *regs = (struct pt_regs *)ctx->args[0];
	struct file *first, *second = 0;
	u8 path = SYSCALL, first_is, second_is = WRITE, call;
	struct task_struct *task;
	u64 id = ctx->args[1];
	int compat = 0;

	if (X32_BIT && (id & X32_BIT)) {
		id &= ~(u64)X32_BIT;
		compat = 1;
	}
	if (id >= sizeof(calls))
		return 0;
	call = calls[id];
	if (!call)
		return 0;
	task = (struct task_struct *)get_current_task();
	if (unlikely(compat) || unlikely(is_compat(task))) {
		call = compat ? call & 15 : call >> 4;
		if (call == CALL_RENAME)
			rename_begins();
		else if (call)
			miss_compat(task, regs);
		return 0;
	}
	call &= 15;
	switch (call) {
	case CALL_NONE:
		return 0;
	case CALL_RENAME:
		rename_begins();
		return 0;
	case CALL_SENDFILE: /* out, in */
		path = SPLICE;
		first = file_of(task, argument(regs, 1, 0));
		second = file_of(task, argument(regs, 0, 0));
		first_is = READ;
		break;
	case CALL_SPLICE: /* in, offset, out */
	case CALL_COPY:
		path = SPLICE;
		first = file_of(task, argument(regs, 0, 0));
		second = file_of(task, argument(regs, 2, 0));
		first_is = READ;
		break;
	default:
		first = file_of(task, argument(regs, 0, 0));
		first_is = call - CALL_READ;
	}
	if (!first) {
		miss(NO_FILE);
		return 0;
	}
	begin(HOW(HOOK_CALL, path, first_is, second_is), first, second, 0);
	return 0;
}

SEC("raw_tracepoint/sys_exit")
int call_ends(struct raw_tracepoint *ctx)
{
	end(HOOK_CALL, (s64)ctx->args[1]);
	return 0;
}

/* A thread that dies within an operation leaves its place to others. */
SEC("raw_tracepoint/sched_process_exit")
int thread_ends(struct raw_tracepoint *ctx)
{
	struct under_way *mine;
	u32 tid;

	mine = own_place(&tid);
	if (mine && mine->owner == tid) {
		miss(UNMATCHED);
		mine->owner = 0;
	}
	return 0;
}

#endif
