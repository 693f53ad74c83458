// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the holders of DAX devices, against a device that has no memory.
//!
//! They test `rust/kernel/dax/holder.rs`, and what it uses of `drivers/dax/super.c`.

use kernel::{
    dax::{
        ByteRange,
        Claim,
        Device,
        HolderOps,
        MfFlag,
        MfFlags,
        OwnedDevice,
        Registration, //
    },
    error::to_result,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Full,
            Release, //
        },
        Arc,
        Completion, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    types::ForeignOwnable,
    workqueue, //
};

const __LOG_PREFIX: &[u8] = b"dax_holder_kunit\0";

/// What the callbacks of a holder record, and whether the next one waits.
#[pin_data]
struct Probe {
    /// Callbacks that have begun and ended.
    began: Atomic<u32>,
    ended: Atomic<u32>,
    /// Offset, length and flags of the last one.
    offset: Atomic<u64>,
    len: Atomic<u64>,
    flags: Atomic<i32>,
    /// What a callback returns: 0 or an error number.
    answer: Atomic<i32>,
    /// If this is not zero, the next callback completes `entered` and waits for `go`.
    waits: Atomic<u32>,
    #[pin]
    entered: Completion,
    #[pin]
    go: Completion,
}

impl Probe {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                began: Atomic::new(0),
                ended: Atomic::new(0),
                offset: Atomic::new(0),
                len: Atomic::new(0),
                flags: Atomic::new(0),
                answer: Atomic::new(0),
                waits: Atomic::new(0),
                entered <- Completion::new(),
                go <- Completion::new(),
            }),
            GFP_KERNEL,
        )
    }

    fn began(&self) -> u32 {
        self.began.load(Acquire)
    }

    fn ended(&self) -> u32 {
        self.ended.load(Acquire)
    }

    /// Whether the last callback was for these bytes.
    fn was_told(&self, start: u64, len: u64) -> bool {
        (self.offset.load(Acquire), self.len.load(Acquire)) == (start, len)
    }
}

struct Holder;

impl HolderOps for Holder {
    type Data = Arc<Probe>;

    fn notify_failure(
        probe: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _dev: &Device,
        failed: ByteRange,
        flags: MfFlags,
    ) -> Result {
        probe.began.fetch_add(1, Full);
        probe.offset.store(failed.offset(), Release);
        probe.len.store(failed.len(), Release);
        probe.flags.store(flags.as_raw(), Release);
        if probe.waits.xchg(0, Full) != 0 {
            probe.entered.complete_all();
            probe.go.wait_for_completion();
            // If `drop()` or `kill()` did not wait for this callback, it would return before.
            fsleep(Delta::from_millis(100));
        }
        probe.ended.fetch_add(1, Full);
        to_result(probe.answer.load(Acquire))
    }
}

fn register(dev: &ARef<Device>, probe: &Arc<Probe>) -> Result<Registration<Holder>> {
    hold(dev, probe, 0, 0x10000)
}

fn hold(
    dev: &ARef<Device>,
    probe: &Arc<Probe>,
    start: u64,
    len: u64,
) -> Result<Registration<Holder>> {
    Registration::new(dev.clone(), ByteRange::new(start, len)?, probe.clone())
}

fn failure() -> Result<ByteRange> {
    ByteRange::new(0x3000, 0x200)
}

/// Notifies the holder from a worker. Returns when the callback waits.
fn notify_elsewhere(dev: &ARef<Device>, probe: &Arc<Probe>) -> Result {
    let (dev, what) = (dev.clone(), failure()?);

    probe.waits.store(1, Release);
    workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
        let _ = dev.notify_failure(what, MfFlags::empty());
    })?;
    probe.entered.wait_for_completion();
    Ok(())
}

/// Lets the waiting callback continue after a delay, so that the caller waits for it before.
fn let_go_later(probe: &Arc<Probe>) -> Result {
    let later = probe.clone();

    workqueue::system_unbound()
        .try_spawn(GFP_KERNEL, move || {
            fsleep(Delta::from_millis(100));
            later.go.complete_all();
        })
        // Without the worker, the callback has to continue at once.
        .inspect_err(|_| probe.go.complete_all())?;
    Ok(())
}

#[kernel::macros::kunit_tests(dax_holder)]
mod tests {
    use super::*;

    #[test]
    fn range_is_checked() {
        assert!(ByteRange::new(0, 0).is_err());
        assert!(ByteRange::new(u64::MAX, 1).is_err());
        assert!(ByteRange::new(1, u64::MAX).is_err());
        assert!(ByteRange::new(u64::MAX - 1, 1).is_ok());
        assert!(ByteRange::new(4096, 512).is_ok_and(|r| r.end() == 4608 && r.len() == 512));
    }

    #[test]
    fn flags_survive() {
        // 1 is MF_COUNT_INCREASED, which has no name in Rust.
        let flags = MfFlags::from_raw(1) | MfFlag::ActionRequired;

        assert!(flags.contains(MfFlag::ActionRequired));
        assert!(!flags.contains(MfFlag::MemPreRemove));
        assert_eq!(flags.as_raw(), 3);
    }

    #[test]
    fn no_holder() -> Result {
        let dev = OwnedDevice::new()?;

        assert_eq!(
            dev.notify_failure(failure()?, MfFlags::empty()),
            Err(EOPNOTSUPP)
        );
        Ok(())
    }

    #[test]
    fn register_and_notify() -> Result {
        let (dev, probe) = (OwnedDevice::new()?, Probe::new()?);
        let reg = register(&dev, &probe)?;

        dev.notify_failure(failure()?, MfFlag::ActionRequired.into())?;
        assert_eq!(probe.ended(), 1);
        assert!(probe.was_told(0x3000, 0x200));
        assert_eq!(
            probe.flags.load(Acquire),
            MfFlags::from(MfFlag::ActionRequired).as_raw()
        );
        drop(reg);
        Ok(())
    }

    #[test]
    fn notify_after() -> Result {
        let (dev, probe) = (OwnedDevice::new()?, Probe::new()?);

        drop(register(&dev, &probe)?);
        assert_eq!(
            dev.notify_failure(failure()?, MfFlags::empty()),
            Err(EOPNOTSUPP)
        );
        assert_eq!(probe.began(), 0);
        Ok(())
    }

    #[test]
    fn slot_is_busy() -> Result {
        let (dev, first, second) = (OwnedDevice::new()?, Probe::new()?, Probe::new()?);
        let reg = register(&dev, &first)?;

        assert!(register(&dev, &second).is_err_and(|e| e == EBUSY));
        // The data that was refused has been dropped: `second` is the only reference to it.
        assert!(Arc::into_unique_or_drop(second).is_some());

        // The first holder is still notified. When it is dropped, another one can register.
        dev.notify_failure(failure()?, MfFlags::empty())?;
        assert_eq!(first.ended(), 1);
        drop(reg);
        assert!(register(&dev, &first).is_ok());
        Ok(())
    }

    #[test]
    fn claim_is_not_the_holder() -> Result {
        let (dev, probe) = (OwnedDevice::new()?, Probe::new()?);
        // CAST: Any address will do, as it is not dereferenced.
        let claim = Claim::new(core::ptr::from_ref(&probe).cast_mut().cast());

        assert!(
            Registration::<Holder>::for_claim((*dev).clone(), claim, probe)
                .is_err_and(|e| e == EBUSY)
        );
        Ok(())
    }

    #[test]
    fn ranges_that_overlap() -> Result {
        let (dev, first, second) = (OwnedDevice::new()?, Probe::new()?, Probe::new()?);
        let _reg = hold(&dev, &first, 0x2000, 0x2000)?;

        for (start, len) in [
            (0x2000, 0x2000),
            (0x1000, 0x1001),
            (0x3fff, 0x1000),
            (0x2800, 0x100),
            (0, u64::MAX),
        ] {
            assert!(hold(&dev, &second, start, len).is_err_and(|e| e == EBUSY));
        }
        // Adjacent ones do not.
        assert!(hold(&dev, &second, 0x1000, 0x1000).is_ok());
        assert!(hold(&dev, &second, 0x4000, 0x1000).is_ok());
        Ok(())
    }

    #[test]
    fn failure_is_cut_at_the_borders() -> Result {
        let (dev, low, high) = (OwnedDevice::new()?, Probe::new()?, Probe::new()?);
        let last = Probe::new()?;
        let notify =
            |start, end| dev.notify_failure(ByteRange::new(start, end - start)?, MfFlags::empty());
        // Not in the order of the device.
        let _high = hold(&dev, &high, 0x4000, 0x4000)?;
        let _last = hold(&dev, &last, 0x9000, 0x1000)?;
        let _low = hold(&dev, &low, 0, 0x4000)?;

        notify(0x3000, 0x4000)?;
        assert!(low.was_told(0x3000, 0x1000));
        notify(0x4000, 0x4001)?;
        assert!(high.was_told(0x4000, 1));
        assert_eq!((low.ended(), high.ended()), (1, 1));

        notify(0x3e00, 0x4200)?;
        assert!(low.was_told(0x3e00, 0x200));
        assert!(high.was_told(0x4000, 0x200));

        // Bytes 0x8000 to 0x8fff, and those behind 0x9fff, have no holder.
        notify(0x7000, 0xb000)?;
        assert!(high.was_told(0x7000, 0x1000));
        assert!(last.was_told(0x9000, 0x1000));
        assert_eq!(notify(0x8000, 0x9000), Err(EOPNOTSUPP));
        assert_eq!(notify(0xa000, 0xb000), Err(EOPNOTSUPP));
        assert_eq!((low.ended(), high.ended(), last.ended()), (2, 3, 1));
        Ok(())
    }

    #[test]
    fn answers_are_combined() -> Result {
        let (dev, low, high) = (OwnedDevice::new()?, Probe::new()?, Probe::new()?);
        let _low = hold(&dev, &low, 0, 0x1000)?;
        let _high = hold(&dev, &high, 0x1000, 0x1000)?;
        let (gone, bad, full) = (EOPNOTSUPP.to_errno(), EIO.to_errno(), ENOMEM.to_errno());

        // Bytes 0x2000 to 0x2fff have no holder.
        for (of_low, of_high, combined) in [
            (0, 0, 0),
            (0, gone, 0),
            (gone, 0, 0),
            (gone, gone, gone),
            (bad, 0, bad),
            (0, bad, bad),
            (gone, bad, bad),
            (bad, gone, bad),
            (bad, full, bad),
        ] {
            low.answer.store(of_low, Release);
            high.answer.store(of_high, Release);
            assert_eq!(
                dev.notify_failure(ByteRange::new(0, 0x3000)?, MfFlags::empty()),
                to_result(combined)
            );
        }
        Ok(())
    }

    #[test]
    fn a_holder_goes_while_another_is_notified() -> Result {
        let (dev, busy, idle) = (OwnedDevice::new()?, Probe::new()?, Probe::new()?);
        let _busy = register(&dev, &busy)?;
        let reg = hold(&dev, &idle, 0x10000, 0x1000)?;

        notify_elsewhere(&dev, &busy)?;
        // This does not wait for the callback of the other holder.
        drop(reg);
        assert_eq!((busy.began(), busy.ended()), (1, 0));
        assert!(Arc::into_unique_or_drop(idle).is_some());
        let_go_later(&busy)
    }

    #[test]
    fn removal_reaches_all_holders() -> Result {
        let (dev, low, high) = (OwnedDevice::new()?, Probe::new()?, Probe::new()?);
        let _low = hold(&dev, &low, 0, 0x4000)?;
        let _high = hold(&dev, &high, 0x8000, 0x4000)?;

        low.answer.store(EIO.to_errno(), Release);
        dev.kill();
        assert!(low.was_told(0, 0x4000));
        assert!(high.was_told(0x8000, 0x4000));
        assert_eq!((low.ended(), high.ended()), (1, 1));
        Ok(())
    }

    #[test]
    fn data_is_freed_once() -> Result {
        let (dev, probe) = (OwnedDevice::new()?, Probe::new()?);

        drop(register(&dev, &probe)?);
        assert!(Arc::into_unique_or_drop(probe).is_some());
        Ok(())
    }

    #[test]
    fn notify_while_unregistering() -> Result {
        let (dev, probe) = (OwnedDevice::new()?, Probe::new()?);
        let reg = register(&dev, &probe)?;

        notify_elsewhere(&dev, &probe)?;
        assert_eq!(probe.ended(), 0);
        let_go_later(&probe)?;
        drop(reg);
        // `drop()` has waited for the callback, which borrowed the data until it returned.
        assert_eq!(probe.began(), 1);
        assert_eq!(probe.ended(), 1);
        assert_eq!(
            dev.notify_failure(failure()?, MfFlags::empty()),
            Err(EOPNOTSUPP)
        );
        Ok(())
    }

    #[test]
    fn killed_under_a_live_holder() -> Result {
        let (dev, probe) = (OwnedDevice::new()?, Probe::new()?);
        let reg = register(&dev, &probe)?;

        dev.kill();
        assert_eq!(probe.ended(), 1);
        assert!(probe.was_told(0, 0x10000));
        assert_eq!(
            probe.flags.load(Acquire),
            MfFlags::from(MfFlag::MemPreRemove).as_raw()
        );
        assert_eq!(dev.notify_failure(failure()?, MfFlags::empty()), Err(ENXIO));
        drop(reg);
        assert!(register(&dev, &probe).is_err_and(|e| e == ENXIO));
        Ok(())
    }

    #[test]
    fn killed_while_notifying() -> Result {
        let (dev, probe) = (OwnedDevice::new()?, Probe::new()?);
        let reg = register(&dev, &probe)?;

        notify_elsewhere(&dev, &probe)?;
        let_go_later(&probe)?;
        dev.kill();
        // Both callbacks have ended, the one for the failure and the one for the removal.
        assert_eq!(probe.began(), 2);
        assert_eq!(probe.ended(), 2);
        drop(reg);
        Ok(())
    }
}
