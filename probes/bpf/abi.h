/*
 * What the programs in the kernel and probes/abi/src/layout share, field by field. Compiled for BPF, and by a test for the
 * host. Whoever changes one side changes the other; the folder of pins is named after a hash of this file among others.
 */
#ifndef TERRACE_ABI_H
#define TERRACE_ABI_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

enum operation { READ = 0, WRITE = 1, FSYNC = 2, READDIR = 3, OPERATIONS = 4 };
enum way { SYSCALL = 0, IO_URING = 1, AIO = 2, MMAP = 3, SPLICE = 4, NESTED = 5, PATHS = 6 };
enum error { ERROR_EIO = 0, ERROR_EROFS = 1, ERROR_ENOSPC = 2, ERROR_EDQUOT = 3, ERROR_OTHER = 4, ERRORS = 5 };
enum size { SMALL = 0, MEDIUM = 1, LARGE = 2, HUGE = 3, SIZES = 4 };
enum missed { NO_SLOT = 0, COMPAT = 1, COLLISION = 2, UNMATCHED = 3, RECURSION = 4, NO_FILE = 5, MISSED = 6 };

#define MOUNTS 131072
#define VOLUME_SLOTS 512
#define PROVISIONAL_SLOTS 64
#define CLASS_SLOTS 32
#define FIRST_CLASS (VOLUME_SLOTS + PROVISIONAL_SLOTS)
#define SLOTS (FIRST_CLASS + CLASS_SLOTS)
/* What can't be said to be anybody's (SharedClass::Unnamed). */
#define SLOT_UNNAMED (FIRST_CLASS + 14)
/* Bytes in which user space notes whose a slot is. */
#define OWNER_BYTES 512
#define SLOT_NONE 0x3fff
#define SLOT_IGNORED 0x3ffe

/* The histogram: 8 buckets an octave from 2^10 to 2^34 nanoseconds, one below, one above. */
#define LOWEST_BIT 10
#define HIGHEST_BIT 34
#define SUB_BITS 3
#define BUCKETS (((HIGHEST_BIT - LOWEST_BIT) << SUB_BITS) + 2)

/* Verified once and by itself (5.6): each caller would go through its branches again. */
#ifdef __bpf__
__attribute__((noinline)) u32 bucket_of(u64 ns)
#else
static u32 bucket_of(u64 ns)
#endif
{
	u32 bit = 0;
	u64 rest = ns;

	if (ns < (1ULL << LOWEST_BIT))
		return 0;
	if (ns >= (1ULL << HIGHEST_BIT))
		return BUCKETS - 1;
	/* No instruction counts leading zeros: halve the place of the highest bit instead. */
	if (rest >> 32) { bit += 32; rest >>= 32; }
	if (rest >> 16) { bit += 16; rest >>= 16; }
	if (rest >> 8) { bit += 8; rest >>= 8; }
	if (rest >> 4) { bit += 4; rest >>= 4; }
	if (rest >> 2) { bit += 2; rest >>= 2; }
	if (rest >> 1) bit += 1;
	return 1 + ((bit - LOWEST_BIT) << SUB_BITS) + ((ns >> (bit - SUB_BITS)) & ((1 << SUB_BITS) - 1));
}

struct figures {
	u64 sum_ns;
	u64 bytes;
	u64 slow;
	u64 cached;
	u64 synced;
	u64 max_ns;
	u64 errors[ERRORS];
	u64 sizes[SIZES];
	u64 paths[PATHS];
	u64 buckets[BUCKETS];
};

/* One word of the table of mounts: slot, whether folders on it are told apart << 14, generation << 16, tag << 32. */
#define WORD(slot, generation, tag) ((u64)(u16)(slot) | (u64)(u16)(generation) << 16 | (u64)(u32)(tag) << 32)
#define WORD_SLOT(word) ((word) & 0x3fff)
#define WORD_HAS_DIRECTORIES(word) ((word) & 0x4000)
#define WORD_GENERATION(word) ((u16)((word) >> 16))
#define WORD_TAG(word) ((u32)((word) >> 32))

struct slot_setting {
	u64 threshold_ns;
	u32 keep;
	u32 device;
};

/* A folder that is no mount and has a class of its own. */
struct directory {
	u64 inode;
	u32 s_dev;
	u32 unused;
};

struct thing_key {
	u32 id;
	u32 tag;
};

/* How much of the path of a mount's root is hashed. */
#define ROOT_NAMES 6
#define ROOT_NAME_BYTES 48

struct thing {
	u64 root_hash;
	u64 seen_ns;
	u32 s_dev;
	u32 magic;
	u32 tgid;
	u32 unused;
};

#define NAMES 8
#define NAME_BYTES 37

struct slow {
	u64 start_ns;
	u64 duration_ns;
	u64 cpu_ns;
	u64 queue_ns;
	u64 block_ns;
	u64 cgroup;
	u64 inode;
	s64 result;
	u32 tgid;
	u32 tid;
	u32 s_dev;
	u32 magic;
	u32 mount;
	u16 slot;
	u16 generation;
	u8 operation;
	u8 path;
	u8 blocked;
	u8 depth;
	u8 deeper;
	u8 unused[3];
	u8 command[16];
	u8 names[NAMES][NAME_BYTES];
};

/* What is counted once for the whole node. */
struct counters {
	u64 missed[MISSED];
	u64 slow_dropped;
	/* Raised whenever an open file may have come to lie in another folder. */
	u64 moves;
};

_Static_assert(sizeof(struct figures) == 1720, "struct figures");
_Static_assert(sizeof(struct slot_setting) == 16, "struct slot_setting");
_Static_assert(sizeof(struct directory) == 16, "struct directory");
_Static_assert(sizeof(struct thing_key) == 8, "struct thing_key");
_Static_assert(sizeof(struct thing) == 32, "struct thing");
_Static_assert(sizeof(struct slow) == 408, "struct slow");
_Static_assert(sizeof(struct counters) == 64, "struct counters");

#endif
