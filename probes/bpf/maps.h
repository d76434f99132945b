/*
 * The maps. Arrays whose values user space reads and writes in place are mmapable; nothing on the way of an operation that is
 * counted takes a lock or looks anything up by hash, block devices excepted. Sizes that depend on the machine are put in at
 * load: `stripes` and the table of threads.
 */
#ifndef TERRACE_MAPS_H
#define TERRACE_MAPS_H

/* Put in at load, before the verifier looks: what is 0 here costs nothing. */
volatile const u32 stripe_mask = 0;
volatile const u32 thread_mask = 32767;
volatile const u64 slow_interval_ns = 5000000;
volatile const u64 slow_burst = 10000;
/* Atomic operations that return something: Linux 5.12. */
volatile const u8 has_fetch = 1;
/* Whether every rename is seen: what is known of an open file's folder is true until the next one. */
volatile const u8 sees_renames = 0;
/* Low half: what a system call of this number is to 64-bit programs; high half: to 32-bit ones. See enum call. */
volatile const u8 calls[512] = {};
/* What an opcode of io_uring is, likewise. */
volatile const u8 uring_calls[64] = {};

enum call {
	CALL_NONE = 0,
	CALL_READ = 1,
	CALL_WRITE = 2,
	CALL_FSYNC = 3,
	CALL_READDIR = 4,
	CALL_SENDFILE = 5,
	CALL_SPLICE = 6,
	CALL_COPY = 7,
	CALL_RENAME = 8,
};

/* By (slot * OPERATIONS + operation) * stripes + stripe. */
struct {
	UINT(type, MAP_ARRAY);
	TYPE(key, u32);
	TYPE(value, struct figures);
	UINT(max_entries, SLOTS * OPERATIONS);
	UINT(map_flags, MMAPABLE);
} figures SEC(".maps");

/* By slot * 2, + 1 for the time with the device. */
struct {
	UINT(type, MAP_ARRAY);
	TYPE(key, u32);
	TYPE(value, struct figures);
	UINT(max_entries, SLOTS * 2);
	UINT(map_flags, MMAPABLE);
} block_figures SEC(".maps");

/* By mount id. */
struct {
	UINT(type, MAP_ARRAY);
	TYPE(key, u32);
	TYPE(value, u64);
	UINT(max_entries, MOUNTS);
	UINT(map_flags, MMAPABLE);
} mounts SEC(".maps");

/* By slot. */
struct {
	UINT(type, MAP_ARRAY);
	TYPE(key, u32);
	TYPE(value, struct slot_setting);
	UINT(max_entries, SLOTS);
	UINT(map_flags, MMAPABLE);
} settings SEC(".maps");

struct {
	UINT(type, MAP_ARRAY);
	TYPE(key, u32);
	TYPE(value, struct counters);
	UINT(max_entries, 1);
	UINT(map_flags, MMAPABLE);
} counters SEC(".maps");

/* What was seen: written at first sight alone. */
struct {
	UINT(type, MAP_HASH);
	TYPE(key, struct thing_key);
	TYPE(value, struct thing);
	UINT(max_entries, 8192);
} things SEC(".maps");

/* Words like those of `mounts` for block devices that were opened as such. */
struct {
	UINT(type, MAP_HASH);
	TYPE(key, struct thing_key);
	TYPE(value, u64);
	UINT(max_entries, 1024);
} devices SEC(".maps");

/* Slots of volumes by the block device below. */
struct {
	UINT(type, MAP_HASH);
	TYPE(key, u32);
	TYPE(value, u32);
	UINT(max_entries, 1024);
} below SEC(".maps");

/* Whose a slot for volumes is, for a process that starts over: nothing here reads it. */
struct owner {
	u8 text[OWNER_BYTES];
};

struct {
	UINT(type, MAP_ARRAY);
	TYPE(key, u32);
	TYPE(value, struct owner);
	UINT(max_entries, VOLUME_SLOTS);
	UINT(map_flags, MMAPABLE);
} owners SEC(".maps");

/* Folders that are no mounts and have a class of their own, with its slot. */
struct {
	UINT(type, MAP_HASH);
	TYPE(key, struct directory);
	TYPE(value, u32);
	UINT(max_entries, 64);
} directories SEC(".maps");

#define RESOLVED 16384

/* In which of them an open file lies, by a hash of its address: the slot in the lowest 16 bits, above them what it is told by. */
struct {
	UINT(type, MAP_ARRAY);
	TYPE(key, u32);
	TYPE(value, u64);
	UINT(max_entries, RESOLVED);
} resolved SEC(".maps");

/* Provisional slots that are free. */
struct {
	UINT(type, MAP_QUEUE);
	TYPE(value, u32);
	UINT(max_entries, PROVISIONAL_SLOTS);
} spare SEC(".maps");

/* One end of an operation: where it is counted is looked up when it has ended, so that what is renamed meanwhile is right. */
struct side {
	u32 id;
	u32 tag;
	u64 file;
	u8 operation;
	u8 used;
	u8 synced;
	/* It lies in a folder with a class of its own: `slot` is that, whatever becomes of the mount. */
	u8 in_directory;
	u16 slot;
	/* `queue` and `device` are what the slot's device had spent on requests when it began, in units of 1,024 ns. */
	u8 has_times;
	u8 unused;
	u32 queue;
	u32 device;
};

/* An operation under way, by thread id. */
struct under_way {
	u32 owner; /* thread id, or 0 */
	u8 path;
	u8 hook;
	u8 depth;
	u8 unused;
	u64 start;
	u64 ran;
	u64 slept;
	u64 stack;
	struct side sides[2];
};

struct {
	UINT(type, MAP_ARRAY);
	TYPE(key, u32);
	TYPE(value, struct under_way);
	UINT(max_entries, 32768);
} threads SEC(".maps");

/* A request of io_uring, libaio or the block layer under way, by a hash of its address. */
struct asked {
	u64 owner;
	u64 start;
	u64 operation;
};

#define REQUESTS 16384

struct {
	UINT(type, MAP_ARRAY);
	TYPE(key, u32);
	TYPE(value, struct asked);
	UINT(max_entries, REQUESTS);
} requests SEC(".maps");

struct {
	UINT(type, MAP_ARRAY);
	TYPE(key, u32);
	TYPE(value, struct asked);
	UINT(max_entries, REQUESTS);
} block_requests SEC(".maps");

/* How many slow operations a slot may still tell. */
struct allowance {
	u64 refilled;
	u64 left;
};

struct {
	UINT(type, MAP_ARRAY);
	TYPE(key, u32);
	TYPE(value, struct allowance);
	UINT(max_entries, SLOTS);
} allowances SEC(".maps");

/* Slow operations (struct slow), and notices of first sights (8 bytes). */
struct {
	UINT(type, MAP_RINGBUF);
	UINT(max_entries, 4194304);
} events SEC(".maps");

#endif
