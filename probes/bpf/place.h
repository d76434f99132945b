/*
 * From a file to the mount or block device it belongs to, and from that to the slot that counts it.
 */
#ifndef TERRACE_PLACE_H
#define TERRACE_PLACE_H

#include "maps.h"

#define S_IFMT 0170000
#define S_IFDIR 0040000
#define S_IFBLK 0060000
#define S_IFREG 0100000
#define O_DSYNC 00010000

static __always_inline void add(u64 *to, u64 what)
{
	__sync_fetch_and_add(to, what);
}

static __always_inline struct counters *own_counters(void)
{
	u32 zero = 0;

	return map_lookup(&counters, &zero);
}

static __always_inline void miss(enum missed why)
{
	struct counters *own = own_counters();

	if (own)
		add(&own->missed[why], 1);
}

/* Filesystems that hold no data of anybody (include/uapi/linux/magic.h). Not tmpfs: emptyDir, Secrets and tokens are that. */
static __always_inline int is_pseudo(u32 magic)
{
	switch (magic) {
	case 0x9fa0: /* proc */
	case 0x62656572: /* sysfs */
	case 0x27e0eb: /* cgroup */
	case 0x63677270: /* cgroup2 */
	case 0x64626720: /* debugfs */
	case 0x74726163: /* tracefs */
	case 0x73636673: /* securityfs */
	case 0xcafe4a11: /* bpf */
	case 0x1cd1: /* devpts */
	case 0x19800202: /* mqueue */
	case 0x50495045: /* pipefs */
	case 0x534f434b: /* sockfs */
	case 0x09041934: /* anonymous inodes */
	case 0x6e736673: /* nsfs */
	case 0x50494446: /* pidfs */
	case 0x62656570: /* configfs */
	case 0x6165676c: /* pstore */
	case 0xde5e81e4: /* efivarfs */
	case 0xf97cff8c: /* selinux */
	case 0x42494e4d: /* binfmt_misc */
	case 0x65735543: /* fusectl */
	case 0x67596969: /* rpc_pipefs */
	case 0x0187: /* autofs */
	case 0x7655821: /* resctrl */
		return 1;
	}
	return 0;
}

static __always_inline struct mount *mount_of(struct file *file)
{
	return (void *)GET(file, f_path.mnt) - FIELD_OFFSET(struct mount, mnt);
}

/*
 * Tells a mount from the next one of its id. Since 6.8 a mount has a number that is never used again; before, what it is made
 * of has to do, and user space forgets a mount when it is gone from mountinfo. Never 0.
 */
static __always_inline u32 tag_of(struct mount *mount)
{
	u64 tag;

	if (FIELD_EXISTS(struct mount, mnt_id_unique)) {
		tag = GET(mount, mnt_id_unique);
	} else {
		struct super_block *super = GET(mount, mnt.mnt_sb);
		u64 uuid = 0;

		probe_read_kernel(&uuid, sizeof(uuid), __builtin_preserve_access_index(&super->s_uuid));
		tag = (u64)mount * 31 + (u64)GET(mount, mnt.mnt_root);
		tag = tag * 31 + (u64)super;
		tag = (tag ^ uuid) + GET(super, s_dev);
		tag *= 0x9e3779b97f4a7c15ULL;
		tag >>= 32;
	}
	return (u32)tag ? (u32)tag : 1;
}

/*
 * Tells a block device from the next one of its number: those of loop devices and of what is attached and detached are handed on
 * at once. Since 5.15 each has a number that is never used again; before, user space asks again and again whose it is. Never 0.
 */
static __always_inline u32 tag_of_device(struct file *file)
{
	u64 tag = 0;

	if (FIELD_EXISTS(struct gendisk, diskseq)) {
		struct address_space *pages = GET(file, f_mapping);
		void *inode = GET(pages, host);
		struct bdev_inode *both = inode - FIELD_OFFSET(struct bdev_inode, vfs_inode);
		struct gendisk *disk = GET(both, bdev.bd_disk);

		tag = GET(disk, diskseq);
	}
	return (u32)tag ? (u32)tag : 1;
}

/* Mounts are numbered from 0, and no block device has the major number 0. */
static __always_inline int is_device(u32 id)
{
	return id >= MOUNTS;
}

static __always_inline void notice(void)
{
	u64 *note = ringbuf_reserve(&events, sizeof(*note), 0);

	if (note) {
		*note = 0;
		ringbuf_submit(note, 0);
	}
}

/* A word for a thing seen for the first time: a provisional slot if one is free. */
static __always_inline u64 new_word(u64 old, u32 tag)
{
	u32 slot;

	if (map_pop(&spare, &slot))
		slot = SLOT_NONE;
	return WORD(slot, WORD_GENERATION(old) + 1, tag);
}

/*
 * The path of a mount's root in its filesystem, as mountinfo shows it: its last names, innermost first. It tells a mount from the
 * next one of its id on the same superblock, for user space, which reads mountinfo later. FNV-1a; never 0.
 * Verified once and by itself (5.6), so it takes the entry as a number.
 */
noinline u64 root_hash(u64 of)
{
	struct dentry *entry = (struct dentry *)of;
	u64 hash = 0xcbf29ce484222325ULL;
	char name[ROOT_NAME_BYTES];

	for (int i = 0; i < ROOT_NAMES; i++) {
		struct dentry *parent = GET(entry, d_parent);
		long length;

		if (!parent || parent == entry)
			break;
		length = probe_read_kernel_str(name, sizeof(name), GET(entry, d_name.name));
		for (int at = 0; at < ROOT_NAME_BYTES - 1; at++) {
			if (at + 1 >= length)
				break;
			hash = (hash ^ (u8)name[at]) * 0x100000001b3ULL;
		}
		hash = (hash ^ '/') * 0x100000001b3ULL;
		entry = parent;
	}
	return hash ? hash : 1;
}

/*
 * The first operation on a mount. Of several at once one wins, by the only update of a hash that there is; the others find the
 * word when their operation ends.
 */
static noinline int meet_mount(struct mount *mount, u32 id, u32 tag)
{
	struct thing_key key = { .id = id, .tag = tag };
	struct thing seen = {};
	struct super_block *super = GET(mount, mnt.mnt_sb);
	struct dentry *root = GET(mount, mnt.mnt_root);
	u64 *word = map_lookup(&mounts, &id);
	void *namespace = GET(mount, mnt_ns);

	if (!word)
		return 0;
	seen.magic = GET(super, s_magic);
	/* In no namespace: detached or the kernel's own (-EINVAL), such as overlay's layers and memfd's tmpfs. */
	if (is_pseudo(seen.magic) || (u64)namespace >= (u64)-4095) {
		*word = WORD(SLOT_IGNORED, WORD_GENERATION(*word) + 1, tag);
		return 0;
	}
	seen.s_dev = GET(super, s_dev);
	seen.root_hash = root_hash((u64)root);
	seen.tgid = get_current_pid_tgid() >> 32;
	seen.seen_ns = ktime_get_ns();
	if (map_update(&things, &key, &seen, NOEXIST))
		return 0;
	*word = new_word(*word, tag);
	notice();
	return 0;
}

/* Each has a word of its own, which user space takes away with it. */
static noinline int meet_device(struct inode *inode, u32 dev, u32 tag)
{
	struct thing_key key = { .id = dev, .tag = tag };
	struct thing seen = {};
	struct super_block *super = GET(inode, i_sb);
	u64 word;

	seen.magic = GET(super, s_magic);
	seen.s_dev = GET(super, s_dev);
	seen.tgid = get_current_pid_tgid() >> 32;
	seen.seen_ns = ktime_get_ns();
	if (map_update(&things, &key, &seen, NOEXIST))
		return 0;
	word = new_word(WORD(0, tag - 1, 0), tag);
	map_update(&devices, &key, &word, ANY);
	notice();
	return 0;
}

/* The word of a mount or device as it is now; SLOT_NONE in it where nothing is counted. */
static __always_inline u64 word_of(u32 id, u32 tag)
{
	struct thing_key key = { .id = id, .tag = tag };
	u64 *word = is_device(id) ? map_lookup(&devices, &key) : map_lookup(&mounts, &id);
	u64 value = word ? *word : 0;

	if (!value || WORD_TAG(value) != tag)
		return WORD(SLOT_NONE, WORD_GENERATION(value), 0);
	return value;
}

/* How deep below a folder a file may lie and still be known to. */
#define LEVELS 64

/*
 * The slot of the innermost folder with a class of its own that holds an entry, or is it; SLOT_NONE: none does. By inodes from
 * the entry up to its filesystem's root, whatever is mounted where. Verified once and by itself (5.6).
 */
noinline u32 find_directory(u64 of, u32 s_dev)
{
	struct dentry *entry = (struct dentry *)of, *parent;
	struct directory key = { .s_dev = s_dev };
	struct inode *inode;
	u32 *slot;

	for (int i = 0; i < LEVELS; i++) {
		inode = GET(entry, d_inode);
		key.inode = GET(inode, i_ino);
		slot = map_lookup(&directories, &key);
		if (slot)
			return *slot;
		parent = GET(entry, d_parent);
		if (!parent || parent == entry)
			return SLOT_NONE;
		entry = parent;
	}
	return SLOT_UNNAMED;
}

/* A pointer as a number: the verifier lets nobody count with the pointers it follows. */
static __always_inline u64 address_of(void *pointer)
{
	u64 address = 0;

	probe_read_kernel(&address, sizeof(address), &pointer);
	return address;
}

static __always_inline u64 mix(u64 hash, u64 more)
{
	hash = (hash ^ more) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

/*
 * The same, once for each open file. Memory of a file that is closed is soon another's: an answer is of this file, of its entry,
 * inode and parent, and of a time in which nothing was renamed; 48 bits of a hash over all that stand beside it. A file with
 * several names lies where it was opened.
 */
static __always_inline u32 directory_of(struct file *file, struct inode *inode, int is_folder)
{
	struct dentry *entry = GET(file, f_path.dentry), *parent = GET(entry, d_parent);
	struct super_block *super = GET(inode, i_sb);
	struct counters *own = own_counters();
	u64 address = address_of(file);
	u32 index = (address >> 6) * 0x9e3779b97f4a7c15ULL >> 40 & (RESOLVED - 1);
	u64 *known = map_lookup(&resolved, &index), mark;
	u32 s_dev, found;

	if (!known || !own)
		return SLOT_NONE;
	mark = mix(mix(address, (u64)entry), (u64)parent);
	mark = mix(mix(mark, GET(inode, i_ino)), (u64)GET(parent, d_inode));
	mark = mix(mark, *(volatile u64 *)&own->moves) & ~0xffffULL;
	barrier();
	if (sees_renames && (*known & ~0xffffULL) == mark)
		return *known & 0xffff;
	s_dev = GET(super, s_dev);
	found = find_directory(is_folder ? (u64)entry : (u64)parent, s_dev);
	*known = mark | (found & 0xffff);
	return found;
}

/* Open files may lie elsewhere from now on. */
static __always_inline void moved(void)
{
	struct counters *own = own_counters();

	if (own)
		add(&own->moves, 1);
}

/* What a slot's device has spent on requests so far, in units of 1,024 ns. */
static __always_inline u32 spent(u32 slot, u32 phase)
{
	u32 index = slot * 2 + phase;
	struct figures *times = map_lookup(&block_figures, &index);

	return times ? times->sum_ns >> 10 : 0;
}

static __always_inline void note_times(struct side *side, u32 slot)
{
	struct slot_setting *setting = map_lookup(&settings, &slot);

	if (!setting || !setting->device)
		return;
	side->has_times = 1;
	side->queue = spent(slot, 0);
	side->device = spent(slot, 1);
}

/* Of what is no volume a sample is enough. */
static __always_inline int is_left_out(u32 slot)
{
	struct slot_setting *setting;

	if (slot < FIRST_CLASS)
		return 0;
	setting = map_lookup(&settings, &slot);
	return setting && setting->keep != ~0U && get_prandom_u32() > setting->keep;
}

/* Fills one end of an operation. 0: it is of no interest, or was counted as missed. */
static noinline int place(struct side *side, struct file *file, u8 operation)
{
	struct inode *inode = GET(file, f_inode);
	u32 kind = GET(inode, i_mode) & S_IFMT;
	u64 *word, value;
	u32 id, tag, slot, in;

	if (kind == S_IFREG || kind == S_IFDIR) {
		struct mount *mount = mount_of(file);

		id = GET(mount, mnt_id);
		tag = tag_of(mount);
		word = map_lookup(&mounts, &id);
		if (!word) {
			miss(NO_SLOT);
			return 0;
		}
		if (WORD_TAG(*word) != tag)
			meet_mount(mount, id, tag);
	} else if (kind == S_IFBLK) {
		id = GET(inode, i_rdev);
		tag = tag_of_device(file);
		if (!WORD_TAG(word_of(id, tag)))
			meet_device(inode, id, tag);
	} else {
		return 0;
	}
	value = word_of(id, tag);
	slot = WORD_SLOT(value);
	if (slot == SLOT_IGNORED)
		return 0;
	if (unlikely(WORD_HAS_DIRECTORIES(value)) && slot != SLOT_NONE) {
		in = directory_of(file, inode, kind == S_IFDIR);
		if (in != SLOT_NONE) {
			slot = in;
			side->in_directory = 1;
		}
	}
	if (is_left_out(slot))
		return 0;
	side->slot = slot;
	if (slot < FIRST_CLASS)
		note_times(side, slot);
	side->id = id;
	side->tag = tag;
	side->file = (u64)file;
	side->operation = operation;
	side->used = 1;
	side->synced = operation == WRITE && (GET(file, f_flags) & O_DSYNC) ? 1 : 0;
	return 1;
}

#endif
