/*
 * Counting an operation that has ended, and telling of a slow one.
 */
#ifndef TERRACE_COUNT_H
#define TERRACE_COUNT_H

#include "place.h"

/* What is known of an operation that has ended. */
struct ended {
	u64 start;
	u64 duration;
	s64 result;
	u64 ran;
	u8 path;
	u8 blocked;
	/* Whether the thread running now is the one that asked. */
	u8 is_own;
};

static __always_inline u32 error_of(s64 result)
{
	switch (result) {
	case -5:
		return ERROR_EIO;
	case -30:
		return ERROR_EROFS;
	case -28:
		return ERROR_ENOSPC;
	case -122:
		return ERROR_EDQUOT;
	}
	return ERROR_OTHER;
}

static __always_inline u32 size_of(u64 bytes)
{
	if (bytes <= 4096)
		return SMALL;
	if (bytes <= 65536)
		return MEDIUM;
	return bytes <= 1048576 ? LARGE : HUGE;
}

/* A bucket of tokens a slot. Two processors at once may let one more or one fewer through; what is dropped is counted. */
static __always_inline int is_allowed(u32 slot, u64 now)
{
	struct allowance *mine = map_lookup(&allowances, &slot);
	u64 more;

	if (!mine)
		return 0;
	if (!mine->refilled) {
		mine->refilled = now;
		mine->left = slow_burst;
	}
	more = now > mine->refilled ? (now - mine->refilled) / slow_interval_ns : 0;
	if (more) {
		mine->refilled += more * slow_interval_ns;
		mine->left = mine->left + more > slow_burst ? slow_burst : mine->left + more;
	}
	if (!mine->left)
		return 0;
	mine->left -= 1;
	return 1;
}

static __always_inline void tell_names(struct slow *slow, struct file *file)
{
	struct dentry *entry = GET(file, f_path.dentry);
	struct vfsmount *mount = GET(file, f_path.mnt);
	struct dentry *root = GET(mount, mnt_root);
	int depth = 0;

#pragma unroll
	for (int i = 0; i < NAMES; i++) {
		const unsigned char *name;
		struct dentry *parent;

		if (!entry || entry == root)
			break;
		name = GET(entry, d_name.name);
		probe_read_kernel_str(slow->names[i], NAME_BYTES, name);
		depth = i + 1;
		parent = GET(entry, d_parent);
		if (parent == entry)
			break;
		entry = parent;
	}
	slow->depth = depth;
	slow->deeper = depth == NAMES && entry != root;
}

/* The file is still the caller's, or its memory has been used again and the names are somebody else's: told, never counted. */
static noinline int tell(struct side *side, struct ended *ended, u32 slot, u32 generation)
{
	struct file *file = (struct file *)side->file;
	struct counters *own = own_counters();
	struct inode *inode = GET(file, f_inode);
	struct super_block *super = GET(inode, i_sb);
	struct slow *slow;
	u64 ids = get_current_pid_tgid();

	if (!is_allowed(slot, ended->start + ended->duration)) {
		if (own)
			add(&own->slow_dropped, 1);
		return 0;
	}
	slow = ringbuf_reserve(&events, sizeof(*slow), 0);
	if (!slow) {
		if (own)
			add(&own->slow_dropped, 1);
		return 0;
	}
	__builtin_memset(slow, 0, sizeof(*slow));
	slow->start_ns = ended->start;
	slow->duration_ns = ended->duration;
	slow->cpu_ns = ended->ran;
	slow->inode = GET(inode, i_ino);
	slow->result = ended->result;
	slow->s_dev = GET(super, s_dev);
	slow->magic = GET(super, s_magic);
	if (is_device(side->id))
		slow->s_dev = side->id;
	else
		slow->mount = side->id;
	slow->slot = slot;
	slow->generation = generation;
	slow->operation = side->operation;
	slow->path = ended->path;
	slow->blocked = ended->blocked;
	if (ended->is_own) {
		slow->cgroup = get_current_cgroup_id();
		slow->tgid = ids >> 32;
		slow->tid = ids;
		get_current_comm(slow->command, sizeof(slow->command));
	}
	/* As of requests that came meanwhile: whoever's on this device. */
	if (side->has_times && side->slot == slot) {
		slow->queue_ns = (u64)(spent(slot, 0) - side->queue) << 10;
		slow->block_ns = (u64)(spent(slot, 1) - side->device) << 10;
	}
	tell_names(slow, file);
	ringbuf_submit(slow, 0);
	return 0;
}

static __always_inline void record(struct figures *to, u64 duration)
{
	u32 bucket = bucket_of(duration);

	if (bucket < BUCKETS)
		add(&to->buckets[bucket], 1);
	add(&to->sum_ns, duration);
	/* Lost only to a preemption between these two lines; user space swaps it with 0. */
	if (duration > to->max_ns)
		to->max_ns = duration;
}

static noinline int count(struct side *side, struct ended *ended)
{
	u32 operation = side->operation, index, slot;
	struct slot_setting *setting;
	struct figures *to;
	u64 path, word = word_of(side->id, side->tag);

	slot = side->in_directory ? side->slot : WORD_SLOT(word);
	if (slot >= SLOTS) {
		if (slot == SLOT_NONE)
			miss(NO_SLOT);
		return 0;
	}
	index = (slot * OPERATIONS + (operation & 3)) * (stripe_mask + 1) + (get_smp_processor_id() & stripe_mask);
	to = map_lookup(&figures, &index);
	if (!to)
		return 0;
	record(to, ended->duration);
	path = ended->path;
	if (path) {
		keep(path);
		if (path < PATHS)
			add(&to->paths[path], 1);
	}
	if (ended->result < 0) {
		add(&to->errors[error_of(ended->result)], 1);
	} else if (ended->result > 0 && operation < FSYNC) {
		add(&to->bytes, ended->result);
		add(&to->sizes[size_of(ended->result)], 1);
	}
	if (!ended->blocked && ended->result >= 0)
		add(&to->cached, 1);
	if (side->synced)
		add(&to->synced, 1);
	setting = map_lookup(&settings, &slot);
	if (setting && setting->threshold_ns && ended->duration >= setting->threshold_ns) {
		add(&to->slow, 1);
		tell(side, ended, slot, WORD_GENERATION(word));
	}
	return 0;
}

#endif
