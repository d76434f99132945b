/*
 * The tiers that follow the kernel's functions: fentry/fexit (5.5 on x86-64, 6.0 on arm64) and kprobe/kretprobe, from the same
 * bodies. The files are arguments by position; a program is named after its tier and its function, as src/program.rs expects.
 */
#ifndef TERRACE_FUNCTIONS_H
#define TERRACE_FUNCTIONS_H

#include "requests.h"

#if defined(__TARGET_ARCH_x86)
#define ARGUMENT_0(ctx) ((ctx)->di)
#define ARGUMENT_1(ctx) ((ctx)->si)
#define ARGUMENT_2(ctx) ((ctx)->dx)
#define RESULT(ctx) ((ctx)->ax)
#define STACK(ctx) ((ctx)->sp)
#elif defined(__TARGET_ARCH_arm64)
#define ARGUMENT_0(ctx) ((ctx)->regs[0])
#define ARGUMENT_1(ctx) ((ctx)->regs[1])
#define ARGUMENT_2(ctx) ((ctx)->regs[2])
#define RESULT(ctx) ((ctx)->regs[0])
#define STACK(ctx) ((ctx)->sp)
#endif

/* An argument of a function as a number. */
static __always_inline u64 number(u64 *argument)
{
	u64 number = 0;

	probe_read_kernel(&number, sizeof(number), argument);
	return number;
}

/* One file, the first argument; `result` is the type of what is returned, after `count` arguments. */
#define FOLLOW(function, hook, operation, result, count)                                      \
	FOLLOW_BY(SYSCALL, function, hook, operation, result, count)

#define FOLLOW_BY(way, function, hook, operation, result, count)                              \
	SEC("fentry/" #function) int fentry_##function(u64 *ctx)                              \
	{                                                                                     \
		begin(HOW(hook, way, operation, 0), (struct file *)ctx[0], 0,             \
		      address_of(ctx));                                                       \
		return 0;                                                                     \
	}                                                                                     \
	SEC("fexit/" #function) int fexit_##function(u64 *ctx)                                \
	{                                                                                     \
		end(hook, (result)ctx[count]);                                                \
		return 0;                                                                     \
	}                                                                                     \
	SEC("kprobe/" #function) int kprobe_##function(struct pt_regs *ctx)                   \
	{                                                                                     \
		begin(HOW(hook, way, operation, 0), (struct file *)ARGUMENT_0(ctx), 0,    \
		      STACK(ctx));                                                            \
		return 0;                                                                     \
	}                                                                                     \
	SEC("kretprobe/" #function) int kretprobe_##function(struct pt_regs *ctx)             \
	{                                                                                     \
		end(hook, (result)RESULT(ctx));                                               \
		return 0;                                                                     \
	}

/* Two files, the first and the third argument of six: what is read from the one is written to the other. */
#define FOLLOW_BOTH(function, hook)                                                           \
	SEC("fentry/" #function) int fentry_##function(u64 *ctx)                              \
	{                                                                                     \
		begin(HOW(hook, SPLICE, READ, WRITE), (struct file *)ctx[0],                  \
		      (struct file *)ctx[2], address_of(ctx));                                \
		return 0;                                                                     \
	}                                                                                     \
	SEC("fexit/" #function) int fexit_##function(u64 *ctx)                                \
	{                                                                                     \
		end(hook, (s64)ctx[6]);                                                       \
		return 0;                                                                     \
	}                                                                                     \
	SEC("kprobe/" #function) int kprobe_##function(struct pt_regs *ctx)                   \
	{                                                                                     \
		begin(HOW(hook, SPLICE, READ, WRITE), (struct file *)ARGUMENT_0(ctx),         \
		      (struct file *)ARGUMENT_2(ctx), STACK(ctx));                            \
		return 0;                                                                     \
	}                                                                                     \
	SEC("kretprobe/" #function) int kretprobe_##function(struct pt_regs *ctx)             \
	{                                                                                     \
		end(hook, (s64)RESULT(ctx));                                                  \
		return 0;                                                                     \
	}

FOLLOW(vfs_read, HOOK_READ, READ, s64, 4)
FOLLOW(vfs_write, HOOK_WRITE, WRITE, s64, 4)
FOLLOW(vfs_readv, HOOK_READV, READ, s64, 5)
FOLLOW(vfs_writev, HOOK_WRITEV, WRITE, s64, 5)
/* Until 6.7. */
FOLLOW(do_iter_read, HOOK_READV, READ, s64, 4)
FOLLOW(do_iter_write, HOOK_WRITEV, WRITE, s64, 4)
/* fsync(2) never reaches vfs_fsync. */
FOLLOW(vfs_fsync_range, HOOK_FSYNC, FSYNC, s32, 4)
FOLLOW(sync_file_range, HOOK_SYNC_RANGE, FSYNC, s32, 4)
FOLLOW(iterate_dir, HOOK_ITERATE, READDIR, s32, 2)
FOLLOW_BOTH(vfs_copy_file_range, HOOK_COPY)
FOLLOW_BOTH(do_splice, HOOK_SPLICE)
FOLLOW_BOTH(do_splice_direct, HOOK_SPLICE_DIRECT)
/* sendfile(2) to a pipe; 5.12. */
FOLLOW_BY(SPLICE, splice_file_to_pipe, HOOK_SPLICE_TO_PIPE, READ, s64, 5)

#define MOVES(how, function)                                                                  \
	SEC(#how "/" #function) int how##_##function(void *ctx)                               \
	{                                                                                     \
		moved();                                                                      \
		return 0;                                                                     \
	}

MOVES(fentry, vfs_rename)
MOVES(fexit, vfs_rename)
MOVES(kprobe, vfs_rename)
MOVES(kretprobe, vfs_rename)

enum { FAULT_SIGBUS = 2, FAULT_ERRORS = 0x73 };

/* A fault that dropped its locks is taken again: the first time is the one that waited. */
static __always_inline void fault_begins(struct vm_fault *fault, u64 depth)
{
	struct vm_fault___old *old = (void *)fault;
	u32 flags = FIELD_EXISTS(struct vm_fault, flags) ? (u32)GET(fault, flags) : GET(old, flags);
	struct vm_area_struct *area = GET(fault, vma);
	struct file *file = GET(area, vm_file);

	if (!(flags & FAULT_FLAG_TRIED) && file)
		begin(HOW(HOOK_FAULT, MMAP, READ, 0), file, 0, depth);
}

/* A vm_fault_t: bits, no errno. Beyond the end of the file is SIGBUS as well as an error of the device. */
static __always_inline void fault_ends(u32 result)
{
	end(HOOK_FAULT, result & FAULT_ERRORS ? (result & FAULT_SIGBUS ? -5 : -14) : 0);
}

SEC("fentry/filemap_fault") int fentry_filemap_fault(u64 *ctx)
{
	fault_begins((struct vm_fault *)ctx[0], address_of(ctx));
	return 0;
}

SEC("fexit/filemap_fault") int fexit_filemap_fault(u64 *ctx)
{
	fault_ends(ctx[1]);
	return 0;
}

SEC("kprobe/filemap_fault") int kprobe_filemap_fault(struct pt_regs *ctx)
{
	fault_begins((struct vm_fault *)ARGUMENT_0(ctx), STACK(ctx));
	return 0;
}

SEC("kretprobe/filemap_fault") int kretprobe_filemap_fault(struct pt_regs *ctx)
{
	fault_ends(RESULT(ctx));
	return 0;
}

/* libaio: from aio_read or aio_write to aio_complete_rw, which all that began well ends in, at once or later. */
static __always_inline void aio_ends(u64 address, s64 result)
{
	struct kiocb *request = (struct kiocb *)address;
	u64 operation, start = answered(&requests, address, &operation);

	if (start)
		count_answer(GET(request, ki_filp), operation, AIO, start, result);
}

#define AIO_BEGINS(function, operation)                                                       \
	SEC("fentry/" #function) int fentry_##function(u64 *ctx)                              \
	{                                                                                     \
		ask(&requests, number(&ctx[0]), operation);                                        \
		return 0;                                                                     \
	}                                                                                     \
	SEC("kprobe/" #function) int kprobe_##function(struct pt_regs *ctx)                   \
	{                                                                                     \
		ask(&requests, ARGUMENT_0(ctx), operation);                                   \
		return 0;                                                                     \
	}

AIO_BEGINS(aio_read, READ)
AIO_BEGINS(aio_write, WRITE)

SEC("fentry/aio_complete_rw") int fentry_aio_complete_rw(u64 *ctx)
{
	aio_ends(number(&ctx[0]), (s64)ctx[1]);
	return 0;
}

SEC("kprobe/aio_complete_rw") int kprobe_aio_complete_rw(struct pt_regs *ctx)
{
	aio_ends(ARGUMENT_0(ctx), (s64)ARGUMENT_1(ctx));
	return 0;
}

#endif
