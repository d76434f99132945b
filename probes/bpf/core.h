/*
 * The kernel's helpers by number (include/uapi/linux/bpf.h), sections, maps and CO-RE reads, without libbpf's headers.
 */
#ifndef TERRACE_CORE_H
#define TERRACE_CORE_H

#define SEC(name) __attribute__((section(name), used))
#define noinline __attribute__((noinline))
#define unlikely(x) __builtin_expect(!!(x), 0)
/* What is checked here is used here: the verifier does not follow what the compiler makes of two checks in one. */
#define keep(x) __asm__ __volatile__("" : "+r"(x))
#define barrier() __asm__ __volatile__("" ::: "memory")

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*ktime_get_ns)(void) = (void *)5;
static u32 (*get_prandom_u32)(void) = (void *)7;
static u32 (*get_smp_processor_id)(void) = (void *)8;
static u64 (*get_current_pid_tgid)(void) = (void *)14;
static long (*get_current_comm)(void *to, u32 size) = (void *)16;
static u64 (*get_current_task)(void) = (void *)35;
static u64 (*get_current_cgroup_id)(void) = (void *)80; /* 4.18 */
static long (*map_pop)(void *map, void *value) = (void *)88; /* 4.20 */
static long (*probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113; /* 5.5 */
static long (*probe_read_kernel_str)(void *to, u32 size, const void *from) = (void *)115; /* 5.5 */
static void *(*ringbuf_reserve)(void *ring, u64 size, u64 flags) = (void *)131; /* 5.8 */
static void (*ringbuf_submit)(void *data, u64 flags) = (void *)132; /* 5.8 */

struct raw_tracepoint {
	u64 args[0];
};

enum { ANY = 0, NOEXIST = 1 };
enum { MAP_HASH = 1, MAP_ARRAY = 2, MAP_QUEUE = 22, MAP_RINGBUF = 27 };
#define MMAPABLE 1024 /* 5.5 */

#define UINT(name, number) int(*name)[number]
#define TYPE(name, type) typeof(type) *name

/* The value of a field of something in the kernel; 0 where it cannot be read. */
#define GET(pointer, field)                                                                              \
	({                                                                                               \
		typeof((pointer)->field) got_;                                                           \
		probe_read_kernel(&got_, sizeof(got_), __builtin_preserve_access_index(&(pointer)->field)); \
		got_;                                                                                    \
	})
#define FIELD_EXISTS(type, field) __builtin_preserve_field_info(((type *)0)->field, 2)
#define FIELD_OFFSET(type, field) __builtin_preserve_field_info(((type *)0)->field, 0)

#endif
