// SPDX-License-Identifier: GPL-2.0

//! QEMU's command line.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{bail, Context, Result};
use fs_err as fs;

use crate::lab::Lab;
use crate::program::output;

/// Bytes of memory: 2 GiB lie below the PCI hole, the rest from 4 GiB on.
const MEMORY: u64 = 5 << 30;
/// The same for [`Platform::Large`].
const LARGE_MEMORY: u64 = (2 << 30) + (15 << 30);
/// Of RAM alone: CXL memory is a device's.
const CXL_MEMORY: u64 = 2 << 30;

/// What of it is RAM, and lost when the guest is gone. The rest is pmem, and where the
/// firmware keeps account of errors.
const VOLATILE: [Range<u64>; 2] = [0..0x7000_0000, 0x7001_0000..0x8000_0000];

/// What runs the guests' instructions.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Accel {
    /// QEMU, in software: on any machine
    #[default]
    Tcg,
    /// This machine's CPU
    Kvm,
}

pub const QEMU: &str = "qemu-system-x86_64";

static ACCEL: OnceLock<Accel> = OnceLock::new();

/// For all guests of this process. /dev/kvm may open and hang: guest.sh tries it out before it asks
/// for it.
pub fn accelerate(accel: Accel) {
    // It is called once.
    let _ = ACCEL.set(accel);
}

pub fn accel() -> &'static str {
    match ACCEL.get() {
        None | Some(Accel::Tcg) => "tcg",
        Some(Accel::Kvm) => "kvm",
    }
}

/// What QEMU says it is, if there is one.
pub fn version() -> Option<String> {
    let said = output(Command::new(QEMU).arg("--version")).ok()?;
    said.lines().next().map(String::from)
}

/// What a kernel without a root filesystem says at last.
const NO_ROOT: &str = "VFS: Unable to mount root fs";

/// Boots a kernel by KVM, as far as it gets without a disk. This may hang for good, where KVM does:
/// the caller does not wait for it.
pub fn try_kvm(lab: &Lab, kernel: &Path, cpu: Option<&str>) -> Result<()> {
    let cpu = cpu.unwrap_or(CPU);
    let words = format!("-M q35 -accel kvm -smp 2 -cpu {cpu} -m 512M {BARE} -serial stdio");
    let said = Command::new(QEMU)
        .args(words.split(' '))
        .arg("-kernel")
        .arg(lab.image(kernel)?)
        .args(["-append", "console=ttyS0 panic=-1"])
        .stdin(Stdio::null())
        .output()
        .context(QEMU)?;
    if String::from_utf8_lossy(&said.stdout).contains(NO_ROOT) {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&said.stderr);
    let why = why.lines().next().unwrap_or("a kernel does not boot");
    bail!("{}", why.trim_start_matches("qemu-system-x86_64: "))
}

/// What the guest's two pmem devices are. Each has a gap behind it: ranges that touch
/// become one device.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Platform {
    /// Ranges of RAM that the kernel's command line declares to be pmem
    #[default]
    Legacy,
    /// ACPI tables describe them; the firmware keeps account of errors
    Nfit,
    /// As legacy, but four of 4, 4, 2 and 4 GiB: for the test suites of others
    Large,
    /// Each is a CXL memory device: regions made by cxl, namespaces by ndctl
    Cxl,
    /// One region, interleaved over two CXL memory devices
    CxlInterleaved,
}

impl Platform {
    /// As the option `--platform` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Nfit => "nfit",
            Self::Large => "large",
            Self::Cxl => "cxl",
            Self::CxlInterleaved => "cxl-interleaved",
        }
    }

    /// Words for the kernel's command line.
    fn memmap(self) -> &'static str {
        match self {
            Self::Legacy => "memmap=1G!4G memmap=1G!6G",
            // As firmware would report them (e820 type 7), or the legacy driver would
            // take them. nfit.asl has the same ranges, and ssdt.asl the last one, in
            // which the firmware keeps its account.
            Self::Nfit => "memmap=1G%4G-1+7 memmap=1G%6G-1+7 memmap=64K$0x70000000",
            Self::Large => "memmap=4G!4G memmap=4G!8448M memmap=2G!12800M memmap=4G!15104M",
            // Where hest.asl has the firmware put what it has heard of.
            Self::Cxl | Self::CxlInterleaved => "memmap=64K$0x70000000",
        }
    }

    /// Bytes of memory.
    fn size(self) -> u64 {
        match self {
            Self::Legacy | Self::Nfit => MEMORY,
            Self::Large => LARGE_MEMORY,
            Self::Cxl | Self::CxlInterleaved => CXL_MEMORY,
        }
    }

    /// Bytes of a file that keeps what outlives a guest.
    pub fn kept(self) -> u64 {
        match self {
            Self::Cxl | Self::CxlInterleaved => u64::from(CXL_DEVICES) * (CXL_SIZE + CXL_LABELS),
            _ => self.size(),
        }
    }

    /// What of such a file does not.
    pub fn volatile(self) -> &'static [Range<u64>] {
        match self {
            Self::Cxl | Self::CxlInterleaved => &[],
            _ => &VOLATILE,
        }
    }

    /// The ACPI tables, which acpi.sh has compiled.
    pub fn tables(self, lab: &Lab) -> Vec<PathBuf> {
        let names: &[_] = match self {
            Self::Nfit => &["nfit.aml", "ssdt.aml"],
            Self::Cxl | Self::CxlInterleaved => &["hest.aml"],
            Self::Legacy | Self::Large => &[],
        };
        let path = |name| lab.build("acpi").join(name);
        names.iter().map(path).collect()
    }

    /// A script that the guest runs first. Without a superblock there are no struct
    /// pages, and without those no DAX; legacy pmem always has them.
    pub fn setup(self) -> &'static str {
        match self {
            Self::Legacy | Self::Large => "",
            Self::Nfit => {
                "for n in 0 1; do
                 # It has its superblock already if the memory outlived another guest.
                 case $(readlink /sys/block/pmem$n/device) in */pfn*) continue ;; esac
                 ndctl create-namespace -f -e namespace$n.0 --mode=fsdax --map=mem >/dev/null || exit
                 done
"
            }
            Self::Cxl => "dax-probe cxl setup || exit\n",
            Self::CxlInterleaved => "dax-probe cxl setup --interleaved || exit\n",
        }
    }

    /// Words for QEMU that have what outlives the guest in a file.
    pub fn memory(self, kept: Option<&Path>) -> Vec<String> {
        match (self, kept) {
            (Self::Cxl | Self::CxlInterleaved, _) => cxl(kept),
            (_, None) => Vec::new(),
            (_, Some(path)) => vec![
                "-object".into(),
                format!(
                    "memory-backend-file,id=memory,size={},mem-path={},share=on",
                    self.size(),
                    path.display()
                ),
                "-machine".into(),
                "memory-backend=memory".into(),
            ],
        }
    }
}

/// CXL memory devices, each with so many bytes, and behind them one of RAM. The probe tells them
/// apart by their serial numbers, from 1 on.
const CXL_DEVICES: u32 = 2;
const CXL_SIZE: u64 = 1 << 30;
const CXL_LABELS: u64 = 256 << 10;
const CXL_RAM: u64 = 256 << 20;

/// The devices that CXL memory is behind come from a bridge of their own, on which no other device
/// may be.
fn cxl(kept: Option<&Path>) -> Vec<String> {
    let backend = |name: &str, at: u64, size: u64| match kept {
        None => format!("memory-backend-ram,id={name},share=on,size={size}"),
        Some(path) => format!(
            "memory-backend-file,id={name},share=on,size={size},mem-path={},offset={at}",
            path.display()
        ),
    };
    let mut words = vec![
        "-machine".into(),
        "cxl=on".into(),
        "-machine".into(),
        "cxl-fmw.0.targets.0=cxl,cxl-fmw.0.size=4G".into(),
        "-device".into(),
        "pxb-cxl,bus_nr=12,bus=pcie.0,id=cxl".into(),
    ];
    let mut add = |n, objects: &[String], memory: &str| {
        for object in objects {
            words.extend(["-object".into(), object.clone()]);
        }
        let slot = n + 2;
        let serial = n + 1;
        for device in [
            format!("cxl-rp,port={n},bus=cxl,id=cxl-port{n},chassis=0,slot={slot}"),
            format!("cxl-type3,bus=cxl-port{n},{memory},id=cxl-mem{n},sn={serial:#x}"),
        ] {
            words.extend(["-device".into(), device]);
        }
    };
    for n in 0..CXL_DEVICES {
        let at = u64::from(n) * (CXL_SIZE + CXL_LABELS);
        let objects = [
            backend(&format!("cxl-memory{n}"), at, CXL_SIZE),
            backend(&format!("cxl-labels{n}"), at + CXL_SIZE, CXL_LABELS),
        ];
        let memory = format!("persistent-memdev=cxl-memory{n},lsa=cxl-labels{n}");
        add(n, &objects, &memory);
    }
    let ram = format!("memory-backend-ram,id=cxl-ram,share=on,size={CXL_RAM}");
    add(CXL_DEVICES, &[ram], "volatile-memdev=cxl-ram");
    words
}

const CPU: &str = "max,vendor=GenuineIntel";
const BARE: &str = "-nodefaults -no-reboot -display none";
/// A line to the monitor, and another one for programs in the guest: a server and its client,
/// joined by a socket. For these, too, a line to dax-lab. And one for a debugger.
const PORTS: &str = "
    -qmp unix:qmp.sock,server=on,wait=off
    -gdb unix:gdb.sock,server=on,wait=off
    -chardev socket,id=monitor,path=guest-qmp.sock,server=on,wait=off
    -mon chardev=monitor,mode=control
    -chardev socket,id=to-monitor,path=guest-qmp.sock
    -device virtio-serial,bus=pcie.0
    -device virtserialport,chardev=to-monitor,name=dax-lab.monitor
    -chardev socket,id=host,path=host.sock,server=on,wait=off
    -device virtserialport,chardev=host,name=dax-lab.host
    -serial file:console.log";

/// The check whether the timer interrupts fails when the host is busy, and ends in
/// a panic.
const EMULATION: &str = "no_timer_check";

/// A panic ends QEMU at once (-no-reboot), and an oops is not survived: what
/// holds a lock then would only hang the rest. The log buffer takes what a race of
/// some hundred thousand injections prints.
const POLICY: &str = "panic=-1 oops=panic log_buf_len=4M";

/// Words for QEMU that have disk number `n`.
pub fn disk(n: usize, image: &Path, keep: bool) -> [String; 4] {
    let fate = if keep { "cache=unsafe" } else { "snapshot=on" };
    let image = image.display();
    [
        "-drive".into(),
        format!("file={image},format=raw,if=none,id=disk{n},{fate}"),
        "-device".into(),
        format!("virtio-blk-pci,bus=pcie.0,drive=disk{n}"),
    ]
}

/// TCG does not model that one CPU changes code which another one runs: with static branches, so
/// that about one boot in twenty dies. Then it runs one CPU at a time.
fn accel_for(kernel: &Path) -> String {
    // A kernel from elsewhere may have no configuration.
    let config = fs::read_to_string(kernel.join(".config")).unwrap_or_default();
    let branches = config.lines().any(|line| line == "CONFIG_JUMP_LABEL=y");
    match accel() {
        "tcg" if branches => "tcg,thread=single".into(),
        accel => accel.into(),
    }
}

/// A guest that runs in `dir`, where its files are: console.log and sockets. The
/// serial port for the guest's command is still to be added.
pub fn command(
    lab: &Lab,
    kernel: &Path,
    image: &Path,
    name: &str,
    dir: &Path,
    platform: Platform,
    append: &str,
) -> Command {
    let size = platform.size() >> 20;
    let share = lab.build("guest");
    let mut qemu = Command::new(QEMU);
    let words = format!("-M q35 -cpu {CPU} -m {size}M {BARE}");
    qemu.current_dir(dir)
        .args(words.split(' '))
        .args(["-accel", &accel_for(kernel)])
        .args(disk(0, &lab.build("guest.img"), false))
        .arg("-fsdev")
        .arg(format!(
            "local,id=lab,path={},security_model=none,readonly=on",
            share.display()
        ))
        .args([
            "-device",
            "virtio-9p-pci,bus=pcie.0,fsdev=lab,mount_tag=lab",
        ])
        .args(PORTS.split_whitespace())
        .arg("-kernel")
        .arg(image)
        .arg("-append")
        .arg(format!(
            "root=/dev/vda rw console=ttyS0 init=/sbin/lab-init lab.name={name} \
             {} {EMULATION} {POLICY} {append}",
            platform.memmap()
        ));
    for table in platform.tables(lab) {
        qemu.arg("-acpitable")
            .arg(format!("file={}", table.display()));
    }
    qemu
}
