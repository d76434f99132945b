/*
 * Operations that are handed in at one time and answered at another: io_uring, and the block layer's requests.
 */
#ifndef TERRACE_REQUESTS_H
#define TERRACE_REQUESTS_H

#include "follow.h"

static __always_inline struct asked *asked_of(void *map, u64 address)
{
	/* Slab objects of a few hundred bytes: the lowest bits tell nothing. */
	u32 index = ((address >> 6) * 0x9e3779b97f4a7c15ULL >> 40) & (REQUESTS - 1);

	return map_lookup(map, &index);
}

/* Notes when a request began. A request never ended whose memory is a new one's by now was never seen to end. */
static __always_inline void ask(void *map, u64 address, u64 operation)
{
	struct asked *asked = asked_of(map, address);

	if (!asked)
		return;
	if (asked->owner == address) {
		miss(UNMATCHED);
	} else if (has_fetch) {
		if (__sync_val_compare_and_swap(&asked->owner, 0, address) != 0) {
			miss(COLLISION);
			return;
		}
	} else if (asked->owner) {
		miss(COLLISION);
		return;
	} else {
		asked->owner = address;
	}
	asked->operation = operation;
	asked->start = ktime_get_ns();
}

/* When it began and as what, and that it has ended; 0: not known. */
static __always_inline u64 answered(void *map, u64 address, u64 *operation)
{
	struct asked *asked = asked_of(map, address);
	u64 start;

	if (!asked || asked->owner != address)
		return 0;
	start = asked->start;
	*operation = asked->operation;
	barrier();
	asked->owner = 0;
	return start;
}

static __always_inline void count_answer(struct file *file, u8 operation, u8 path, u64 start, s64 result)
{
	struct ended ended = { .start = start, .duration = ktime_get_ns() - start, .result = result };
	struct side side = {};

	if (!place(&side, file, operation))
		return;
	ended.path = path;
	/* Whether anybody slept is not known: not told as cached. */
	ended.blocked = 1;
	/* The device's times began before. */
	side.has_times = 0;
	count(&side, &ended);
}

/* io_uring_submit_sqe until 6.2, io_uring_submit_req after; the request is the first argument since 6.0. */
SEC("raw_tracepoint/io_uring_submit_req")
int uring_begins(struct raw_tracepoint *ctx)
{
	struct io_kiocb *request = (struct io_kiocb *)ctx->args[0];
	u8 opcode = GET(request, opcode);

	if (opcode < sizeof(uring_calls) && uring_calls[opcode])
		ask(&requests, (u64)request, uring_calls[opcode] - CALL_READ);
	return 0;
}

/* The request is the second argument; 0 for an answer that is none's. */
SEC("raw_tracepoint/io_uring_complete")
int uring_ends(struct raw_tracepoint *ctx)
{
	struct io_kiocb *request = (struct io_kiocb *)ctx->args[1];
	struct file *file;
	u64 start, operation;

	if (!request)
		return 0;
	start = answered(&requests, (u64)request, &operation);
	if (!start)
		return 0;
	if (operation == CALL_RENAME - CALL_READ) {
		moved();
		return 0;
	}
	file = GET(request, file);
	if (file)
		count_answer(file, operation, IO_URING, start, GET(request, cqe.res));
	else
		miss(NO_FILE);
	return 0;
}

static __always_inline struct figures *block_figures_of(struct block_device *part, u32 phase)
{
	u32 dev = part ? GET(part, bd_dev) : 0;
	u32 *slot = dev ? map_lookup(&below, &dev) : 0;
	u32 index;

	if (!slot)
		return 0;
	index = *slot * 2 + phase;
	return map_lookup(&block_figures, &index);
}

/* The request is the first argument since 5.11. It waited from its allocation, which the kernel notes, to here. */
SEC("raw_tracepoint/block_rq_issue")
int block_begins(struct raw_tracepoint *ctx)
{
	struct request *request = (struct request *)ctx->args[0];
	struct figures *queue = block_figures_of(GET(request, part), 0);
	struct asked *asked;
	u64 since, now;

	if (!queue)
		return 0;
	now = ktime_get_ns();
	since = GET(request, start_time_ns);
	if (since && since <= now)
		record(queue, now - since);
	asked = asked_of(&block_requests, (u64)request);
	if (asked) {
		asked->owner = (u64)request;
		asked->start = now;
	}
	return 0;
}

SEC("raw_tracepoint/block_rq_complete")
int block_ends(struct raw_tracepoint *ctx)
{
	struct request *request = (struct request *)ctx->args[0];
	struct figures *device = block_figures_of(GET(request, part), 1);
	u64 start, operation;

	if (!device)
		return 0;
	start = answered(&block_requests, (u64)request, &operation);
	if (!start)
		return 0;
	record(device, ktime_get_ns() - start);
	if ((s32)ctx->args[1])
		add(&device->errors[ERROR_OTHER], 1);
	else
		add(&device->bytes, (u32)ctx->args[2]);
	return 0;
}

/*
 * Devices that make no requests of what they are handed (device-mapper, md): all that they take is time with the device. Since
 * 5.12. Of others the kernel tells no end here.
 */
SEC("raw_tracepoint/block_bio_queue")
int bio_begins(struct raw_tracepoint *ctx)
{
	struct bio *bio = (struct bio *)ctx->args[0];
	struct block_device_operations *can;
	struct block_device *part;
	struct gendisk *disk;
	struct asked *asked;

	if (!FIELD_EXISTS(struct bio, bi_bdev))
		return 0;
	part = GET(bio, bi_bdev);
	if (!block_figures_of(part, 1))
		return 0;
	disk = GET(part, bd_disk);
	can = GET(disk, fops);
	if (!GET(can, submit_bio))
		return 0;
	asked = asked_of(&block_requests, (u64)bio);
	if (asked) {
		asked->owner = (u64)bio;
		asked->operation = GET(bio, bi_iter.bi_size);
		asked->start = ktime_get_ns();
	}
	return 0;
}

SEC("raw_tracepoint/block_bio_complete")
int bio_ends(struct raw_tracepoint *ctx)
{
	struct bio *bio = (struct bio *)ctx->args[1];
	struct figures *device;
	u64 start, bytes;

	if (!FIELD_EXISTS(struct bio, bi_bdev))
		return 0;
	device = block_figures_of(GET(bio, bi_bdev), 1);
	if (!device)
		return 0;
	start = answered(&block_requests, (u64)bio, &bytes);
	if (!start)
		return 0;
	record(device, ktime_get_ns() - start);
	if (GET(bio, bi_status))
		add(&device->errors[ERROR_OTHER], 1);
	else
		add(&device->bytes, bytes);
	return 0;
}

#endif
