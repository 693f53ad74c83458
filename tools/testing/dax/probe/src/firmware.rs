// SPDX-License-Identifier: GPL-2.0

//! The firmware of `--platform nfit` (tools/testing/lab/acpi/ssdt.asl): which errors it
//! knows of, and its switches for tests.
//!
//! This asks the firmware itself, by way of the bus's device and no ndctl: what the
//! driver lists (badblocks) can be older.

use std::fs::{self, File, OpenOptions};
use std::path::Path;

use anyhow::{ensure, Context, Result};
use clap::Subcommand;

use crate::abi::{nd_cmd_pkg, With, ND_IOCTL_CALL};
use crate::mce;
use crate::pmem::Pmem;
use crate::sys;
use crate::units::PAGE;

const BUSES: &str = "/sys/bus/nd/devices";
/// More errors than the firmware has room for.
const MAX_ANSWER: usize = 32 << 10;
/// What any function takes.
const MAX_INPUT: usize = 32;

const INJECT: u64 = 7;
const INJECTED: u64 = 9;
/// An option of `INJECT` that no standard has: set a switch.
const SWITCH: u8 = 1 << 7;
const REFUSE_CLEAR: u64 = 1;
const SLOW_SCRUB: u64 = 2;
const SLOW_CLEAR: u64 = 3;

/// Look at the firmware of `--platform nfit`, or have it misbehave
#[derive(Subcommand)]
pub enum Command {
    /// The errors that it knows of: address and length
    List,
    /// Clearing an error fails
    RefuseClear { mode: Mode },
    /// A scrub is found busy this many times before it is done; 0 or off: not at all
    SlowScrub {
        #[arg(value_parser = parse_times)]
        times: u32,
    },
    /// Clearing an error takes so many milliseconds
    SlowClear { milliseconds: u32 },
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    On,
    Off,
}

fn parse_times(text: &str) -> Result<u32, std::num::ParseIntError> {
    match text {
        "off" => Ok(0),
        number => number.parse(),
    }
}

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::List => {
            for error in errors()? {
                println!("{:#x} {}", error.address, error.length);
            }
            Ok(())
        }
        Command::RefuseClear { mode } => refuse_clear(*mode == Mode::On),
        Command::SlowScrub { times } => slow_scrub(*times),
        Command::SlowClear { milliseconds } => slow_clear(*milliseconds),
    }
}

/// A range of physical addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error {
    pub address: u64,
    pub length: u64,
}

impl Error {
    pub fn new(address: u64, length: u64) -> Self {
        Self { address, length }
    }

    /// Whether it lies in the page of a byte.
    pub fn hits(&self, byte: u64) -> bool {
        let page = byte - byte % PAGE;
        self.address < page + PAGE && page < self.address + self.length
    }
}

/// The errors that the firmware knows of, in order, with gaps between them.
pub fn errors() -> Result<Vec<Error>> {
    decode(&call(INJECTED, &[], MAX_ANSWER)?)
}

/// Whether there is any.
pub fn exists() -> bool {
    open().is_ok()
}

/// An error, of which the kernel is not told.
pub fn inject(error: Error) -> Result<()> {
    tell(error.address, error.length, 0).with_context(|| format!("{error:?}"))
}

/// Whether the firmware refuses to clear errors. It does until it is told otherwise,
/// even after a scene that failed: see [`Refusing`].
pub fn refuse_clear(on: bool) -> Result<()> {
    switch(REFUSE_CLEAR, on.into())
}

/// How many times the kernel, which asks after 1, 2, 4, … seconds, finds a scrub of
/// one range busy.
pub fn slow_scrub(times: u32) -> Result<()> {
    switch(SLOW_SCRUB, times)
}

/// How long the firmware takes to clear errors, each time that it is asked to.
pub fn slow_clear(milliseconds: u32) -> Result<()> {
    switch(SLOW_CLEAR, milliseconds)
}

/// The firmware refuses to clear errors while this lives.
pub struct Refusing(());

impl Refusing {
    pub fn new() -> Result<Self> {
        refuse_clear(true)?;
        Ok(Self(()))
    }
}

impl Drop for Refusing {
    fn drop(&mut self) {
        // Best effort.
        let _ = refuse_clear(false);
    }
}

/// A machine check for byte `offset` of a device: what becomes of an error, which the
/// firmware must know of, when a load meets it. QEMU's memory is good and will not
/// raise one by itself. Without a CPU no load has consumed the error; see [`mce`].
pub fn consume(device: Pmem, offset: u64, cpu: Option<u32>) -> Result<String> {
    let address = device.address(offset)?;
    let known = errors()?.iter().any(|error| error.hits(address));
    ensure!(
        known,
        "the firmware knows of no error in the page of {address:#x}"
    );
    mce::deliver_to(cpu, address)
}

fn switch(number: u64, value: u32) -> Result<()> {
    tell(number, value.into(), SWITCH).with_context(|| format!("switch {number}"))
}

/// Calls `INJECT`.
fn tell(first: u64, second: u64, options: u8) -> Result<()> {
    let mut input = [first, second].map(u64::to_le_bytes).concat();
    input.push(options);
    let answer = call(INJECT, &input, 4)?;
    ensure!(answer == [0; 4], "the firmware refuses: {answer:?}");
    Ok(())
}

/// What a function answered, but no more than `room`.
fn call(function: u64, input: &[u8], room: usize) -> Result<Vec<u8>> {
    let mut packet = With::<_, u8, { MAX_INPUT + MAX_ANSWER }>::new(nd_cmd_pkg {
        command: function,
        size_in: input.len() as u32,
        size_out: room as u32,
        ..Default::default()
    });
    // What comes out follows it.
    packet.list[..input.len()].copy_from_slice(input);
    // SAFETY: ND_IOCTL_CALL takes an nd_cmd_pkg and as many bytes as that says.
    unsafe { sys::ioctl(&open()?, ND_IOCTL_CALL, &mut *packet) }
        .with_context(|| format!("function {function} of the firmware"))?;
    let size = room.min(packet.head.fw_size as usize);
    Ok(packet.list[input.len()..][..size].to_vec())
}

/// The bus that has firmware.
fn open() -> Result<File> {
    for entry in fs::read_dir(BUSES).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("ndbus"));
        if let (Some(number), true) = (number, entry.path().join("nfit").exists()) {
            let path = Path::new("/dev").join(format!("ndctl{number}"));
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).open(&path);
            return file.with_context(|| path.display().to_string());
        }
    }
    anyhow::bail!("no firmware that keeps account of errors: start the guest with --platform nfit")
}

/// From the answer to `INJECTED`: status, count, ranges.
fn decode(answer: &[u8]) -> Result<Vec<Error>> {
    let (head, ranges) = answer.split_at_checked(8).context("a short answer")?;
    let count = u32::from_le_bytes(head[4..].try_into()?) as usize;
    ensure!(head[..4] == [0; 4], "status {:?}", &head[..4]);
    ensure!(
        ranges.len() == count * 16,
        "{count} errors in {} bytes",
        ranges.len()
    );
    let word = |bytes: &[u8]| -> Result<u64> { Ok(u64::from_le_bytes(bytes.try_into()?)) };
    let mut errors = Vec::new();
    for range in ranges.chunks(16) {
        errors.push(Error::new(word(&range[..8])?, word(&range[8..])?));
    }
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_decoded() {
        let mut answer = vec![0, 0, 0, 0, 2, 0, 0, 0];
        for number in [0x1_0020_0000u64, 256, 0x1_0030_0000, 512] {
            answer.extend(number.to_le_bytes());
        }
        let errors = decode(&answer).unwrap();
        assert_eq!(errors.len(), 2);
        assert_eq!(errors[1], Error::new(0x1_0030_0000, 512));
        assert!(decode(&answer[..30]).is_err());
        assert!(decode(&[1, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
