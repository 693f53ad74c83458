// SPDX-License-Identifier: GPL-2.0

//! Touches of memory that may fault, and a record of the SIGBUSes that arrive.
//!
//! A touch is a single instruction in assembly. A fault in it makes the handler
//! move the instruction pointer to a fixup, much as the kernel's exception table
//! does, so nothing has to be unwound.

use std::ffi::c_void;
use std::fmt;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::SeqCst};

use anyhow::{bail, Context, Result};
use libc::{BUS_ADRERR, BUS_MCEERR_AO, BUS_MCEERR_AR};
use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal as Signo};
use nix::unistd::gettid;

use crate::sys::exit_now;
use crate::units::PAGE;

pub use crate::units::PAGE_SIZE;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the fixup of a touch is written for x86-64");

core::arch::global_asm!(
    ".pushsection .text.dax_probe,\"ax\",@progbits",
    ".globl dax_probe_load",
    "dax_probe_load:",
    "movzx eax, byte ptr [rdi]",
    "ret",
    ".globl dax_probe_store",
    "dax_probe_store:",
    "mov byte ptr [rdi], sil",
    "xor eax, eax",
    "ret",
    // dax_probe_copy(to, from, len)
    ".globl dax_probe_copy",
    "dax_probe_copy:",
    "mov rcx, rdx",
    "rep movsb",
    "xor eax, eax",
    "ret",
    ".globl dax_probe_fixup",
    "dax_probe_fixup:",
    "mov eax, -1",
    "ret",
    // dax_probe_load_jump(addr, environment)
    ".globl dax_probe_load_jump",
    "dax_probe_load_jump:",
    "push rbx",
    "mov rbx, rdi",
    "mov rdi, rsi",
    "mov esi, 1",
    "call __sigsetjmp@PLT",
    "test eax, eax",
    "jnz 2f",
    "movzx eax, byte ptr [rbx]",
    "pop rbx",
    "ret",
    "2:",
    "mov eax, -1",
    "pop rbx",
    "ret",
    ".popsection",
);

extern "C" {
    fn dax_probe_load(addr: *const u8) -> i32;
    fn dax_probe_store(addr: *mut u8, value: u8) -> i32;
    fn dax_probe_copy(to: *mut u8, from: *const u8, len: usize) -> i32;
    fn dax_probe_fixup();
    fn dax_probe_load_jump(addr: *const u8, environment: *mut c_void) -> i32;
    fn siglongjmp(environment: *mut c_void, value: i32) -> !;
}

/// Where [`load_jump`] goes on, a sigjmp_buf (200 bytes); null if none is waiting.
static ENVIRONMENT: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// Reads one byte; `None` when the read faulted.
///
/// # Safety
///
/// `addr` lies in a mapping of this process, and [`install`] was called.
pub unsafe fn load(addr: *const u8) -> Option<u8> {
    // SAFETY: a fault is fixed up by the handler; the rest is the caller's promise.
    u8::try_from(unsafe { dax_probe_load(addr) }).ok()
}

/// Writes one byte; whether it went through.
///
/// # Safety
///
/// As for [`load`], and nothing else of this program lives at `addr`.
pub unsafe fn store(addr: *mut u8, value: u8) -> bool {
    // SAFETY: as above.
    unsafe { dax_probe_store(addr, value) == 0 }
}

/// Reads all of `to`; whether it went through.
///
/// # Safety
///
/// As for [`load`], for all bytes from `addr` on.
pub unsafe fn copy(to: &mut [u8], addr: *const u8) -> bool {
    // SAFETY: as above; `to` is as long.
    unsafe { dax_probe_copy(to.as_mut_ptr(), addr, to.len()) == 0 }
}

/// [`load`], but the handler leaves by siglongjmp(): it never returns.
///
/// # Safety
///
/// As for [`load`], and no other thread calls this.
pub unsafe fn load_jump(addr: *const u8) -> Option<u8> {
    let mut environment = [0u128; 16];
    ENVIRONMENT.store(environment.as_mut_ptr().cast(), SeqCst);
    // SAFETY: the function saves its registers in the environment, and stays on the
    // stack until the load is done or the handler has jumped back into it. The rest
    // is the caller's promise.
    let got = unsafe { dax_probe_load_jump(addr, environment.as_mut_ptr().cast()) };
    ENVIRONMENT.store(null_mut(), SeqCst);
    u8::try_from(got).ok()
}

/// What a signal said.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    pub signo: i32,
    pub code: i32,
    pub addr: u64,
    pub lsb: u64,
    /// The task that took it.
    pub task: u32,
}

impl Signal {
    /// Name of the signal's code, as in `<signal.h>`.
    pub fn name(&self) -> String {
        match (self.signo, self.code) {
            (libc::SIGBUS, BUS_ADRERR) => "BUS_ADRERR".into(),
            (libc::SIGBUS, BUS_MCEERR_AR) => "BUS_MCEERR_AR".into(),
            (libc::SIGBUS, BUS_MCEERR_AO) => "BUS_MCEERR_AO".into(),
            (signo, code) => format!("signal {signo} code {code}"),
        }
    }

    /// Describes the signal as one that belongs to a mapping at `base`.
    pub fn describe(&self, base: u64) -> String {
        let at = self.addr.wrapping_sub(base);
        let page = at / PAGE;
        let place = match at % PAGE {
            0 if page < 1 << 32 => format!("page {page}"),
            _ => format!("address {:#x}", self.addr),
        };
        match self.code {
            BUS_MCEERR_AR | BUS_MCEERR_AO => format!("{} {place} lsb {}", self.name(), self.lsb),
            _ => format!("{} {place}", self.name()),
        }
    }

    /// The inverse of `Display`.
    pub fn parse(text: &str) -> Result<Self> {
        let words = text
            .split(',')
            .map(str::parse)
            .collect::<Result<Vec<u64>, _>>();
        match words.ok().and_then(|words| words.try_into().ok()) {
            Some(words) => Ok(Self::of(words)),
            None => bail!("not a signal: {text}"),
        }
    }

    fn of([signo, code, addr, lsb, task]: [u64; 5]) -> Self {
        Self {
            signo: signo as i32,
            code: code as i32,
            addr,
            lsb,
            task: task as u32,
        }
    }

    fn words(&self) -> [u64; 5] {
        let (signo, code, task) = (self.signo as u64, self.code as u64, self.task.into());
        [signo, code, self.addr, self.lsb, task]
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [signo, code, addr, lsb, task] = self.words();
        write!(f, "{signo},{code},{addr},{lsb},{task}")
    }
}

const SLOTS: usize = 64;
// What the handler writes must be lock-free; the array is filled once per take().
static LOG: [[AtomicU64; 5]; SLOTS] = [const { [const { AtomicU64::new(0) }; 5] }; SLOTS];
static SEEN: AtomicUsize = AtomicUsize::new(0);

/// Takes the signals seen since the last call, oldest first.
pub fn take() -> Vec<Signal> {
    let seen = SEEN.load(SeqCst).min(SLOTS);
    let words = LOG[..seen]
        .iter()
        .map(|slot| slot.each_ref().map(|w| w.load(SeqCst)));
    let signals = words.map(Signal::of).collect();
    SEEN.store(0, SeqCst);
    signals
}

/// Number of signals since the last [`take`].
pub fn seen() -> usize {
    SEEN.load(SeqCst)
}

/// Receives SIGBUS and SIGSEGV from now on.
pub fn install() -> Result<()> {
    let handler = SigHandler::SigAction(handler);
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    for signo in [Signo::SIGBUS, Signo::SIGSEGV] {
        // SAFETY: the handler only does what a signal handler may do: atomics, and a change of
        // the saved registers.
        unsafe { sigaction(signo, &action) }.context("sigaction")?;
    }
    Ok(())
}

extern "C" fn handler(signo: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands over a valid siginfo and ucontext. si_addr_lsb,
    // which libc does not name, is the short behind si_addr.
    let (code, addr, lsb, context) = unsafe {
        let lsb = info.cast::<u8>().add(24).cast::<i16>().read();
        let context = &mut *context.cast::<libc::ucontext_t>();
        ((*info).si_code, (*info).si_addr() as u64, lsb, context)
    };
    let n = SEEN.fetch_add(1, SeqCst);
    if let Some(slot) = LOG.get(n) {
        let signal = Signal {
            signo,
            code,
            addr,
            lsb: lsb as u64,
            task: gettid().as_raw() as u32,
        };
        for (place, word) in slot.iter().zip(signal.words()) {
            place.store(word, SeqCst);
        }
    }
    let environment = ENVIRONMENT.load(SeqCst);
    if !environment.is_null() && code != BUS_MCEERR_AO {
        // SAFETY: load_jump() waits there, and below it are only frames that nothing
        // needs to be done for.
        unsafe { siglongjmp(environment, 1) };
    }
    fix_up(signo, code, context);
}

/// Leaves the touch that faulted. An advisory signal (BUS_MCEERR_AO) may
/// interrupt a touch as well, but that touch can go on.
fn fix_up(signo: i32, code: i32, context: &mut libc::ucontext_t) {
    let rip = &mut context.uc_mcontext.gregs[libc::REG_RIP as usize];
    let touch = dax_probe_load as *const () as i64..dax_probe_fixup as *const () as i64;
    if touch.contains(rip) {
        if code != BUS_MCEERR_AO {
            *rip = touch.end;
        }
    } else if signo == libc::SIGSEGV {
        // A bug of the probe itself: without a fixup it would fault for ever.
        exit_now(139);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use nix::sys::memfd::{memfd_create, MFdFlags};
    use nix::sys::mman::MapFlags;

    use super::*;
    use crate::area::{Area, Fit, View, WRITE};

    /// A page behind the end of a file is mapped, but a touch of it faults.
    #[test]
    fn a_fault_is_survived_and_reported() {
        install().unwrap();
        let file = memfd_create(c"probe", MFdFlags::empty()).unwrap();
        let file = File::from(file);
        file.set_len(PAGE).unwrap();
        let view = View {
            file: &file,
            first: 0,
            pages: 2,
            prot: WRITE,
            flags: MapFlags::MAP_SHARED,
        };
        let area = Area::map(view, Fit::Any).unwrap();
        let (first, second) = (area.addr(0), area.addr(1));
        // SAFETY: the mapping is touched only through load() and store().
        unsafe {
            assert!(store(first, 7));
            assert_eq!(load(first), Some(7));
            assert_eq!(load(second), None);
            assert!(!store(second, 7));
            let signals = take();
            assert_eq!(signals.len(), 2);
            assert_eq!(signals[0].describe(first as u64), "BUS_ADRERR page 1");
            for _ in 0..2 {
                assert_eq!(load_jump(second), None);
            }
            assert_eq!(load_jump(first), Some(7));
            assert_eq!(take().len(), 2);
            assert_eq!(seen(), 0);
        }
    }

    #[test]
    fn signals_in_words() {
        let signal = Signal::parse("7,4,12288,12,80").unwrap();
        assert_eq!(signal.describe(4096), "BUS_MCEERR_AR page 2 lsb 12");
        assert_eq!(signal.describe(4097), "BUS_MCEERR_AR address 0x3000 lsb 12");
        assert_eq!(signal.to_string(), "7,4,12288,12,80");
        assert!(Signal::parse("7,4").is_err());
    }
}
