//! A slice of `hack/crash`: lanes of whole lives, and eight kills among them at moments that a seed names. The image of this
//! cluster has no fault points, so processes are killed by number; the matrix itself is `hack/crash --all`.

use std::process::Command;

use anyhow::{Result, ensure};

#[test]
fn eight_kills_among_whole_lives_leak_nothing_and_lose_nothing() -> Result<()> {
    let program = env!("CARGO_BIN_EXE_terrace-crash");
    let ended = Command::new(program).args(["--smoke", "--seed", "7"]).output()?;
    let said = String::from_utf8_lossy(&ended.stdout);
    println!("{said}");
    ensure!(ended.status.success(), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    ensure!(said.contains("| kills | 8 |") || said.contains("| kills | 9 |"), "{said}");
    Ok(())
}
