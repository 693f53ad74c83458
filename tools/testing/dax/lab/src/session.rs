// SPDX-License-Identifier: GPL-2.0

//! Guests for a person at a terminal.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::lab::Lab;
use crate::vm::{self, Vm};

/// The kernel with symbols.
const SYMBOLS: &str = "build/kernels/gdb";

/// A shell in `vm`, with build/share at /share.
pub fn shell(lab: &Lab, vm: Vm<'_>) -> Result<u8> {
    vm.words(share(lab)?).interact(&script())
}

/// The same on the kernel with symbols, with QEMU's stub for gdb; with `wait`, the CPUs stand
/// still until gdb says otherwise.
pub fn gdb(lab: &Lab, wait: bool) -> Result<u8> {
    let mut words = share(lab)?;
    if wait {
        words.push("-S".into());
        eprintln!("dax-lab: the guest does not start before gdb continues it");
    }
    eprintln!("dax-lab: in another terminal, as root: tools/testing/lab/attach");
    // Emulated CPUs stand still in gdb while the clock goes on.
    let quiet = "nosoftlockup rcupdate.rcu_cpu_stall_suppress=1";
    Vm::new(lab, "gdb", Path::new(SYMBOLS), 0)
        .append(quiet.into())
        .words(words)
        .interact(&script())
}

/// Words for QEMU that have a directory of the host in the guest.
fn share(lab: &Lab) -> Result<Vec<String>> {
    let share = lab.build("share");
    fs::create_dir_all(&share).with_context(|| share.display().to_string())?;
    let share = share.display();
    Ok(vec![
        "-virtfs".into(),
        format!("local,path={share},mount_tag=share,security_model=none"),
    ])
}

/// A shell on the guest's serial port, as wide as this terminal. Its history is kept in the
/// share, line by line: Ctrl-a x does not let the shell say goodbye.
fn script() -> String {
    let stty = Command::new("stty")
        .arg("size")
        .stdin(Stdio::inherit())
        .output();
    let said = stty.map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
    let size = match said.unwrap_or_default().trim().split_once(' ') {
        Some((rows, cols)) if rows != "0" && cols != "0" => format!("rows {rows} cols {cols}"),
        _ => "rows 24 cols 80".into(),
    };
    let term = std::env::var("TERM").unwrap_or_else(|_| "linux".into());
    let term = vm::script(&["export".into(), format!("TERM={term}")]);
    format!(
        "mkdir -p /share
         mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 share /share
         export HISTFILE=/share/.history HISTSIZE=2000 HISTCONTROL=ignoredups
         export PROMPT_COMMAND='history -a' EDITOR=vi LESS=-R
         stty sane {size}
         {term}
         # A terminal that the guest knows nothing of.
         infocmp >/dev/null 2>&1 || TERM=xterm-256color
         exec setsid --ctty --wait bash -i"
    )
}
