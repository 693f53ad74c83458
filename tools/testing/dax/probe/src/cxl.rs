// SPDX-License-Identifier: GPL-2.0

//! The CXL memory devices of `--platform cxl`: regions of them, where a byte of a pmem device is in
//! them, and their errors. QEMU lists an error that it is told of, and reports nothing; an event
//! that it is told of, it reports, and lists nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use clap::Subcommand;
use serde_json::{json, Value};

use crate::abi::{nd_cmd_clear_error, ND_IOCTL_CLEAR_ERROR};
use crate::calls;
use crate::ghes::{self, PciAddress};
use crate::kernel::until;
use crate::pmem::{parse_address, Pmem};
use crate::qmp::Monitor;
use crate::sys;
use crate::trace::Trace;

pub const DEVICES: &str = "/sys/bus/cxl/devices";
/// QEMU has so many of pmem, with the serial numbers from 1 on, and one of RAM.
const COUNT: u64 = 2;
pub const RAM: u64 = COUNT + 1;
/// What is bad at least, in bytes.
pub const LINE: u64 = 64;

/// Look at the memory devices of `--platform cxl`, or set them up
#[derive(Subcommand)]
pub enum Command {
    /// Make regions and namespaces of the devices, or find those that were made
    Setup {
        /// One region over all devices
        #[arg(long)]
        interleaved: bool,
    },
    /// The errors that the devices list: device, address in it and length
    List,
}

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Setup { interleaved } => setup(*interleaved),
        Command::List => {
            for error in errors()? {
                println!(
                    "{} {:#x} {}",
                    error.line.device, error.line.address, error.len
                );
            }
            Ok(())
        }
    }
}

/// Whether there are such devices.
pub fn exists() -> bool {
    memdev(1).is_ok()
}

fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text.trim().into())
}

fn number(path: impl AsRef<Path>) -> Result<u64> {
    Ok(parse_address(&read(path)?)?)
}

/// The kernel's name of the device with this serial number.
pub fn memdev(serial: u64) -> Result<String> {
    for entry in fs::read_dir(DEVICES).context(DEVICES)? {
        let path = entry?.path();
        // Devices of other kinds have none.
        if number(path.join("serial")).is_ok_and(|is| is == serial) {
            let name = path.file_name().context("no name")?;
            return Ok(name.to_string_lossy().into());
        }
    }
    bail!("no CXL memory device with serial number {serial}")
}

/// Whether the drivers have the device.
pub fn is_ready(serial: u64) -> Result<bool> {
    Ok(decoder(serial).is_ok_and(|path| path.exists()))
}

/// The regions, and pmem of them.
fn setup(interleaved: bool) -> Result<()> {
    // They are probed one after the other.
    let patience = crate::kernel::limit(20);
    let there = until(patience, Duration::from_millis(20), || {
        (1..=RAM).try_fold(true, |all, serial| Ok(all && is_ready(serial)?))
    })?;
    ensure!(there, "{RAM} CXL memory devices are not there");
    if interleaved {
        return make(&[1, 2]);
    }
    (1..=COUNT).try_for_each(|serial| make(&[serial]))
}

/// Makes a region over devices, and a namespace, if labels do not have one.
pub fn make(serials: &[u64]) -> Result<()> {
    let region = create_region("pmem", serials)?;
    let number = region.trim_start_matches("region");
    // Returns when what labels have is there.
    read("/sys/bus/nd/devices/ndbus0/wait_probe")?;
    if !Path::new(&format!("/sys/block/pmem{number}")).exists() {
        tool(
            "ndctl",
            &[
                "create-namespace",
                "-t",
                "pmem",
                "-m",
                "fsdax",
                "--map=mem",
                "-r",
                &region,
            ],
        )?;
    }
    Ok(())
}

/// Makes a region of RAM.
pub fn make_ram() -> Result<String> {
    create_region("ram", &[RAM])
}

fn create_region(kind: &str, serials: &[u64]) -> Result<String> {
    let memdevs: Vec<_> = serials.iter().map(|n| memdev(*n)).collect::<Result<_>>()?;
    let ways = serials.len().to_string();
    let mut words = vec!["create-region", "-t", kind, "-d", "decoder0.0", "-w", &ways];
    words.push("-m");
    words.extend(memdevs.iter().map(String::as_str));
    let said = tool("cxl", &words)?;
    let region = said["region"].as_str().context("cxl made no region")?;
    Ok(region.into())
}

/// Gives a region of one device, which has lost it, that device again: cxl can't. Decoders are
/// programmed in the order of their numbers, so no region may have come after it.
pub fn attach(pmem: Pmem, serial: u64) -> Result<()> {
    let region = region(pmem);
    let decoder = decoder(serial)?;
    let name = decoder.file_name().context("no name")?.to_string_lossy();
    let size = read(region.join("size"))?;
    for (file, text) in [
        (decoder.join("mode"), "pmem"),
        (decoder.join("dpa_size"), &size),
        (region.join("target0"), &name),
        (region.join("commit"), "1"),
        (
            PathBuf::from("/sys/bus/cxl/drivers/cxl_region/bind"),
            &format!("region{}", pmem.0),
        ),
    ] {
        fs::write(&file, text).with_context(|| format!("{text} > {}", file.display()))?;
    }
    Ok(())
}

/// The first decoder of a device.
fn decoder(serial: u64) -> Result<PathBuf> {
    for entry in fs::read_dir(DEVICES).context(DEVICES)? {
        let endpoint = entry?.path();
        // Only an endpoint's has one.
        if number(endpoint.join("uport/serial")).is_ok_and(|is| is == serial) {
            let name = endpoint
                .file_name()
                .context("no name")?
                .to_string_lossy()
                .into_owned();
            let number = name.trim_start_matches("endpoint");
            return Ok(endpoint.join(format!("decoder{number}.0")));
        }
    }
    bail!("no endpoint of serial number {serial}")
}

/// What one of the tools says, in JSON.
pub fn tool(name: &str, words: &[&str]) -> Result<Value> {
    let output = Process::new(name)
        .args(words)
        .output()
        .context(name.to_string())?;
    let told = String::from_utf8_lossy(&output.stderr);
    let what = format!("{name} {}", words.join(" "));
    ensure!(output.status.success(), "{what}: {}", told.trim());
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(match text.find(['{', '[']) {
        Some(start) => serde_json::from_str(&text[start..]).context(what)?,
        None => Value::Null,
    })
}

/// A place in a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// Its serial number.
    pub device: u64,
    /// In bytes, from its start (DPA).
    pub address: u64,
}

impl Line {
    /// Where byte `at` of a pmem device is.
    pub fn of(pmem: Pmem, at: u64) -> Result<Self> {
        Self::at(&region(pmem), pmem.address(at)?)
    }

    /// Where a physical address is, which is in the region with this directory in sysfs.
    pub fn at(region: &Path, address: u64) -> Result<Self> {
        let base = number(region.join("resource"))?;
        let ways = number(region.join("interleave_ways"))?;
        let granularity = number(region.join("interleave_granularity"))?;
        let offset = address - base;
        let target = read(region.join(format!("target{}", offset / granularity % ways)))?;
        let decoder = fs::canonicalize(Path::new(DEVICES).join(target))?;
        let memdev = decoder.join("../uport");
        Ok(Self {
            device: number(memdev.join("serial"))?,
            address: number(decoder.join("dpa_resource"))?
                + offset / (granularity * ways) * granularity
                + offset % granularity,
        })
    }

    fn path(self) -> String {
        format!("/machine/peripheral/cxl-mem{}", self.device - 1)
    }

    /// Has the device list an error of `len` bytes, and say nothing.
    pub fn inject(self, len: u64) -> Result<()> {
        Monitor::open()?.command(
            "cxl-inject-poison",
            json!({ "path": self.path(), "start": self.address, "length": len }),
        )
    }

    /// Has it report an error of the line that can't be corrected, and list nothing.
    pub fn report(self, event: Event) -> Result<()> {
        self.report_as(event, 1)
    }

    /// The same with this descriptor; bit 0: it can't be corrected.
    pub fn report_as(self, event: Event, descriptor: u8) -> Result<()> {
        let mut arguments = json!({
            "path": self.path(),
            "log": "failure",
            "flags": 1,
            "dpa": self.address,
            "descriptor": descriptor,
            "type": 0,
            "transaction-type": 5,
        });
        // Of a DRAM's event, QEMU wants to know more.
        let command = match event {
            Event::Media => "cxl-inject-general-media-event",
            Event::Dram => {
                arguments["channel"] = 0.into();
                "cxl-inject-dram-event"
            }
            // Not by the device, but by firmware.
            Event::Cper => {
                let path = Path::new(DEVICES).join(memdev(self.device)?);
                return ghes::report(pci_address(&path)?, self.address);
            }
        };
        Monitor::open()?.command(command, arguments)
    }

    /// Has the kernel clear it, whatever it holds.
    pub fn clear(self) -> Result<io::Result<()>> {
        let path = format!(
            "/sys/kernel/debug/cxl/{}/clear_poison",
            memdev(self.device)?
        );
        Ok(fs::write(path, format!("{:#x}", self.address)))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Media,
    Dram,
    Cper,
}

/// The PCI device that has a CXL device, by its directory in sysfs.
fn pci_address(device: &Path) -> Result<PciAddress> {
    let device = fs::canonicalize(device)?;
    let name = device.parent().and_then(Path::file_name);
    let name = name.context("no PCI device")?.to_string_lossy();
    PciAddress::parse(&name).with_context(|| format!("{name}: no PCI device"))
}

/// Has the nvdimm bus clear errors of `len` bytes at a physical address; how many it has cleared.
pub fn clear_errors(address: u64, len: u64) -> Result<io::Result<usize>> {
    // There is no other bus.
    let path = "/dev/ndctl0";
    let bus = calls::open(Path::new(path), 0)?;
    let mut command = nd_cmd_clear_error {
        address,
        length: len,
        ..Default::default()
    };
    // SAFETY: a nd_cmd_clear_error is what it takes.
    let done = unsafe { sys::ioctl(&bus, ND_IOCTL_CLEAR_ERROR, &mut command) };
    Ok(done.map(|_| command.cleared as usize).map_err(Into::into))
}

/// sysfs's directory of the region that a pmem device is in.
pub fn region(pmem: Pmem) -> PathBuf {
    Path::new(DEVICES).join(format!("region{}", pmem.0))
}

/// An error that a device lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error {
    pub line: Line,
    pub len: u64,
}

/// All that the devices list. The kernel reads the lists and traces them, as for `cxl list
/// --media-errors`, which takes more than a second for each device here.
pub fn errors() -> Result<Vec<Error>> {
    let trace = Trace::new("cxl/cxl_poison")?;
    for device in 1..=RAM {
        let path = Path::new(DEVICES).join(memdev(device)?);
        let path = path.join("trigger_poison_list");
        fs::write(&path, "1").with_context(|| path.display().to_string())?;
    }
    let events = trace.events()?;
    events.iter().map(|event| traced(event)).collect()
}

fn traced(event: &str) -> Result<Error> {
    let number = |key: &str| {
        let mut words = event.split(' ').filter_map(|word| word.split_once('='));
        let value = words.find(|(name, _)| *name == key);
        let (_, value) = value.with_context(|| format!("no {key}: {event}"))?;
        Ok::<u64, anyhow::Error>(parse_address(value)?)
    };
    Ok(Error {
        line: Line {
            device: number("serial")?,
            address: number("dpa")?,
        },
        len: number("dpa_length")?,
    })
}

/// How many there are, as `cxl` tells.
pub fn media_errors() -> Result<usize> {
    let list = tool("cxl", &["list", "-M", "--media-errors"])?;
    let devices = list.as_array().context("cxl lists no devices")?.iter();
    let errors = devices.filter_map(|device| device["media_errors"].as_array());
    Ok(errors.map(Vec::len).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_a_trace() {
        let event = "memdev=mem1 host=0000:0d:00.0 serial=2 trace_type=List region=region0 \
            region_uuid=00000000-0000-0000-0000-000000000000 hpa=0x110001000 hpa_alias0=0xffff \
            dpa=0x1000 dpa_length=0x40 source=Injected flags= overflow_time=0";
        let line = Line {
            device: 2,
            address: 0x1000,
        };
        assert_eq!(traced(event).expect("an error"), Error { line, len: 64 });
        assert!(traced("memdev=mem1").is_err());
    }
}
