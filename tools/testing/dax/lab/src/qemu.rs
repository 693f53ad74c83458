// SPDX-License-Identifier: GPL-2.0

//! QEMU's command line.

use std::path::Path;
use std::process::Command;

use crate::lab::Lab;

/// 2 GiB lie below the PCI hole, the rest from 4 GiB on.
const MEMORY: &str = "5G";

/// Two legacy pmem devices, each with a gap behind it: ranges that touch become
/// one device.
const PMEM: &str = "memmap=1G!4G memmap=1G!6G";

/// The check whether the timer interrupts fails when the host is busy, and ends in
/// a panic.
const EMULATION: &str = "no_timer_check";

/// A panic ends QEMU at once (-no-reboot), and an oops is not survived: what
/// holds a lock then would only hang the rest. The log buffer takes what a race of
/// some hundred thousand injections prints.
const POLICY: &str = "panic=-1 oops=panic log_buf_len=4M";

/// A guest that runs in `dir`, where its files are: console.log and sockets. The
/// serial port for the guest's command is still to be added.
pub fn command(lab: &Lab, image: &Path, name: &str, dir: &Path, append: &str) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    let disk = lab.build("guest.img");
    let share = lab.build("guest");
    qemu.current_dir(dir)
        // /dev/kvm may open and hang, so always emulate.
        .args(["-M", "q35", "-accel", "tcg,thread=multi"])
        .args(["-cpu", "max,vendor=GenuineIntel", "-smp", "2"])
        .args(["-m", MEMORY, "-nodefaults", "-no-reboot"])
        .args(["-display", "none"])
        .arg("-drive")
        .arg(format!(
            "file={},format=raw,if=virtio,snapshot=on",
            disk.display()
        ))
        .arg("-virtfs")
        .arg(format!(
            "local,path={},mount_tag=lab,security_model=none,readonly=on",
            share.display()
        ))
        .args(["-qmp", "unix:qmp.sock,server=on,wait=off"])
        .args(["-serial", "file:console.log"])
        .arg("-kernel")
        .arg(image)
        .arg("-append")
        .arg(format!(
            "root=/dev/vda rw console=ttyS0 init=/sbin/lab-init lab.name={name} \
             {PMEM} {EMULATION} {POLICY} {append}"
        ));
    qemu
}
