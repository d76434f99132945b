/*
 * The parts of the kernel's types that the programs read, by hand: offsets are put in at load from the running kernel's BTF
 * (CO-RE), so order and size here mean nothing. Names must be the kernel's; the version that last changed one stands beside it.
 */
#ifndef TERRACE_KERNEL_H
#define TERRACE_KERNEL_H

#define CORE __attribute__((preserve_access_index))

struct qstr {
	const unsigned char *name;
} CORE;

struct address_space {
	struct inode *host;
} CORE;

struct inode {
	u16 i_mode;
	u32 i_rdev;
	unsigned long i_ino;
	struct super_block *i_sb;
} CORE;

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name; /* beside __d_name in a union: 6.16 */
	struct inode *d_inode;
} CORE;

typedef struct {
	u8 b[16];
} uuid_t;

struct super_block {
	u32 s_dev;
	unsigned long s_magic;
	uuid_t s_uuid;
} CORE;

struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
} CORE;

struct mount {
	struct vfsmount mnt;
	void *mnt_ns;
	int mnt_id;
	u64 mnt_id_unique; /* 6.8 */
} CORE;

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
} CORE;

struct file {
	struct path f_path; /* beside __f_path in a union: 6.17 */
	struct inode *f_inode;
	struct address_space *f_mapping;
	unsigned int f_flags;
} CORE;

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
} CORE;

struct files_struct {
	struct fdtable *fdt;
} CORE;

struct thread_info {
	unsigned long flags;
	u32 status;
} CORE;

struct sched_entity {
	u64 sum_exec_runtime;
} CORE;

struct task_struct {
	struct thread_info thread_info;
	struct files_struct *files;
	struct sched_entity se;
	unsigned long nvcsw;
	unsigned int flags;
	int pid;
} CORE;

struct pt_regs {
#if defined(__TARGET_ARCH_x86)
	unsigned long di, si, dx, r10, r8, r9, bx, cx, ax, sp;
#elif defined(__TARGET_ARCH_arm64)
	unsigned long regs[31];
	unsigned long sp;
#endif
} CORE;

struct io_cqe {
	s32 res;
} CORE;

/* Linux 5.19: before, the result lay elsewhere. */
struct io_kiocb {
	struct file *file;
	u8 opcode;
	struct io_cqe cqe;
} CORE;

struct kiocb {
	struct file *ki_filp;
} CORE;

struct vm_area_struct {
	struct file *vm_file;
} CORE;

enum fault_flag {
	FAULT_FLAG_TRIED = 32,
};

struct vm_fault {
	struct vm_area_struct *vma;
	enum fault_flag flags; /* a number until 5.17 */
} CORE;

struct vm_fault___old {
	unsigned int flags;
} CORE;

struct block_device_operations {
	void *submit_bio; /* 5.9; 0 where the device takes requests */
} CORE;

struct gendisk {
	struct block_device_operations *fops;
	u64 diskseq; /* 5.15 */
} CORE;

struct block_device {
	u32 bd_dev;
	struct gendisk *bd_disk;
} CORE;

struct bdev_inode {
	struct block_device bdev;
	struct inode vfs_inode;
} CORE;

struct bvec_iter {
	u32 bi_size;
} CORE;

struct bio {
	struct block_device *bi_bdev; /* 5.12 */
	struct bvec_iter bi_iter;
	u8 bi_status;
} CORE;

/* `part` is a block_device since 5.11. */
struct request {
	struct block_device *part;
	u64 start_time_ns;
	unsigned int cmd_flags;
} CORE;

#endif
