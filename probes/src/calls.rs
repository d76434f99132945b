//! Which system calls and io_uring opcodes are operations, by number and architecture, as tables for the programs in the kernel.

use crate::program::Hook;

/// What a call does, as `enum call` of `bpf/maps.h` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Call {
    Read = 1,
    Write = 2,
    Fsync = 3,
    Readdir = 4,
    Sendfile = 5,
    Splice = 6,
    Copy = 7,
    Rename = 8,
}

/// How many numbers the kernel's side has room for.
pub(crate) const CALLS: usize = 512;
/// How many opcodes.
pub(crate) const OPCODES: usize = 64;

type Row = (Hook, &'static [usize], &'static [usize]);

/// (hook, numbers for programs of this architecture, numbers for its 32-bit ones).
#[cfg(target_arch = "x86_64")]
const ROWS: [Row; 12] = [
    (Hook::Read, &[0, 17], &[3, 180]),
    (Hook::Readv, &[19, 295, 327], &[145, 333, 378]),
    (Hook::Write, &[1, 18], &[4, 181]),
    (Hook::Writev, &[20, 296, 328], &[146, 334, 379]),
    (Hook::Fsync, &[74, 75], &[118, 148]),
    (Hook::SyncRange, &[277], &[314]),
    (Hook::Iterate, &[78, 217], &[141, 220]),
    (Hook::Sendfile, &[40], &[187, 239]),
    (Hook::SendToPipe, &[40], &[187, 239]),
    (Hook::Splice, &[275], &[313]),
    (Hook::Copy, &[326], &[377]),
    (Hook::Rename, &[82, 264, 316], &[38, 302, 353]),
];
#[cfg(target_arch = "aarch64")]
const ROWS: [Row; 12] = [
    (Hook::Read, &[63, 67], &[3, 180]),
    (Hook::Readv, &[65, 69, 286], &[145, 361, 392]),
    (Hook::Write, &[64, 68], &[4, 181]),
    (Hook::Writev, &[66, 70, 287], &[146, 362, 393]),
    (Hook::Fsync, &[82, 83], &[118, 148]),
    (Hook::SyncRange, &[84], &[341]),
    (Hook::Iterate, &[61], &[141, 217]),
    (Hook::Sendfile, &[71], &[187, 239]),
    (Hook::SendToPipe, &[71], &[187, 239]),
    (Hook::Splice, &[76], &[340]),
    (Hook::Copy, &[285], &[391]),
    (Hook::Rename, &[38, 276], &[38, 329, 382]),
];

/// Opcodes of io_uring (the same everywhere). 60 and 61 since 6.15; a multishot read is for what can be polled, never a file.
const RING: [(Hook, Call, &[usize]); 5] = [
    (Hook::Read, Call::Read, &[1, 4, 22, 60]),
    (Hook::Write, Call::Write, &[2, 5, 23, 61]),
    (Hook::Fsync, Call::Fsync, &[3]),
    (Hook::SyncRange, Call::Fsync, &[8]),
    (Hook::Rename, Call::Rename, &[35]),
];

fn call(hook: Hook) -> Option<Call> {
    match hook {
        Hook::Read | Hook::Readv => Some(Call::Read),
        Hook::Write | Hook::Writev => Some(Call::Write),
        Hook::Fsync | Hook::SyncRange => Some(Call::Fsync),
        Hook::Iterate => Some(Call::Readdir),
        Hook::Sendfile | Hook::SendToPipe => Some(Call::Sendfile),
        Hook::Splice => Some(Call::Splice),
        Hook::Copy => Some(Call::Copy),
        Hook::Rename => Some(Call::Rename),
        Hook::Fault | Hook::AioRead | Hook::AioWrite | Hook::Uring | Hook::Block => None,
    }
}

/// The table of system calls for the hooks that are followed by raw tracepoints.
pub(crate) fn plan_calls(by_calls: &[Hook]) -> [u8; CALLS] {
    let mut table = [0; CALLS];
    for (hook, native, compat) in ROWS {
        let Some(call) = call(hook).filter(|_| by_calls.contains(&hook)) else { continue };
        for number in native {
            table[*number] |= call as u8;
        }
        for number in compat {
            table[*number] |= (call as u8) << 4;
        }
    }
    table
}

/// The table of opcodes: all that is asked for, but what the functions of another tier see anyway.
pub(crate) fn plan_opcodes(asked: &[Hook], by_function: &[Hook]) -> [u8; OPCODES] {
    let mut table = [0; OPCODES];
    for (hook, call, opcodes) in RING {
        // io_uring reads and writes without vfs_read and vfs_write; it syncs with vfs_fsync_range and renames with vfs_rename.
        let calls_function = matches!(call, Call::Fsync | Call::Rename);
        let seen_anyway = calls_function && by_function.contains(&hook);
        if !asked.contains(&hook) || seen_anyway {
            continue;
        }
        for opcode in opcodes {
            table[*opcode] = call as u8;
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{plan_calls, plan_opcodes};
    use crate::program::Hook;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn numbers_lead_to_operations() {
        let table = plan_calls(&[Hook::Read, Hook::Fsync, Hook::Copy]);
        // 3 is close to 64-bit programs and read to 32-bit ones; 75 is fdatasync.
        assert_eq!((table[0], table[3], table[75], table[326]), (1, 1 << 4, 3, 7));
        assert_eq!((table[1], table[19]), (0, 0), "not asked for");
        assert_eq!(table.iter().filter(|call| **call != 0).count(), 10);
    }

    #[test]
    fn what_a_function_sees_is_not_seen_twice() {
        let all = [Hook::Read, Hook::Write, Hook::Fsync, Hook::SyncRange];
        let table = plan_opcodes(&all, &[Hook::Read, Hook::Fsync]);
        assert_eq!((table[22], table[23], table[3], table[8]), (1, 2, 0, 3));
        assert_eq!(plan_opcodes(&[Hook::Rename], &[])[35], 8);
        assert_eq!(plan_opcodes(&[Hook::Rename], &[Hook::Rename])[35], 0);
    }
}
