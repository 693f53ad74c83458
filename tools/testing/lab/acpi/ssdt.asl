/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The firmware behind the ranges of nfit.asl, as the ACPI specification has it in
 * "NVDIMM Root Device _DSMs". Layouts as in the kernel's include/uapi/linux/ndctl.h.
 *
 * It knows of errors only what it is told by way of its injection functions. The
 * memory behind stays good, and nobody meets a machine check: for that, dax-probe
 * consume has QEMU deliver one.
 *
 * Integers are 32 bits wide, because QEMU's DSDT is of revision 1. So addresses and
 * lengths are counted in units of 256 bytes, which is also what can be cleared at
 * once: in a little-endian field of 64 bits that is the double word behind the first
 * byte. It reaches to 1 TiB.
 *
 * What the firmware has to remember lies in memory which the kernel's command line
 * reserves (qemu.rs), so that it is still there when QEMU has been killed and its
 * memory was a file:
 *
 *     0x70000000  +0x00    "DAXF": what follows is valid
 *                 +0x04    which of the two lists is valid, 0 or 1
 *                 +0x08    switch 1: not zero: clearing an error fails
 *                 +0x0c    switch 2: how many times a scrub is found busy
 *                 +0x10    the number of errors in list 0
 *                 +0x14    the same of list 1
 *                 +0x18    switch 3: how many milliseconds it takes to clear an error
 *                 +0x0100  list 0
 *                 +0x8000  list 1
 *
 * A list has its errors in order, with gaps between them. Each is as "query ARS
 * status" gives it: handle, reserved (4 bytes each, zero), address, length (8 bytes
 * each). The list that is not valid is the one that is changed; then they swap.
 */
DefinitionBlock ("", "SSDT", 1, "DAXLAB", "NFIT", 1)
{
    Device (\_SB.NVDR)
    {
        Name (_HID, "ACPI0012")

        OperationRegion (STOR, SystemMemory, 0x70000000, 0x10000)
        Field (STOR, DWordAcc, NoLock, Preserve)
        {
            MAGI, 32,
            HALF, 32,
            REFU, 32,
            SLOW, 32,
            CNT0, 32,
            CNT1, 32,
            LATE, 32
        }

        // The list that is valid, and the number of its errors: AML is too slow to
        // look for them in the store.
        Name (LIST, Buffer (1) {})
        Name (NERR, Zero)
        // Where the two lists begin to differ
        Name (SAME, Zero)
        Name (INIT, Zero)

        // Was a scrub started since boot, of which range (address, length), and how
        // many more times will it be found busy?
        Name (SCRN, Zero)
        Name (SCRB, Buffer (16) {})
        Name (BUSY, Zero)

        // The units of the range that a function was given: the first, and the one
        // behind the last
        Name (FRST, Zero)
        Name (LAST, Zero)

        // 256 bytes of the store, from Arg0
        Method (PEEK, 1, Serialized)
        {
            OperationRegion (PART, SystemMemory, Arg0, 0x100)
            Field (PART, DWordAcc, NoLock, Preserve)
            {
                DATA, 2048
            }
            Return (DATA)
        }

        Method (POKE, 2, Serialized)
        {
            OperationRegion (PART, SystemMemory, Arg0, 0x100)
            Field (PART, DWordAcc, NoLock, Preserve)
            {
                DATA, 2048
            }
            DATA = Arg1
        }

        // Where list Arg0 is
        Method (ADDR, 1)
        {
            Return (0x70000100 + Arg0 * 0x7F00)
        }

        // Reads the store, when the firmware is used for the first time
        Method (OPEN, 0, Serialized)
        {
            INIT = One
            If (MAGI != 0x46584144)
            {
                HALF = Zero
                REFU = Zero
                SLOW = Zero
                CNT0 = Zero
                CNT1 = Zero
                LATE = Zero
                MAGI = 0x46584144
            }
            NERR = CNT0
            If (HALF)
            {
                NERR = CNT1
            }
            Local0 = NERR * 24
            Local1 = Zero
            Local2 = ADDR (HALF)
            Local3 = Mid (LIST, Zero, Zero) // empty
            While (Local1 < Local0)
            {
                Local4 = PEEK (Local2 + Local1)
                Local3 = Concatenate (Local3, Local4)
                Local1 += 0x100
            }
            Local4 = Mid (Local3, Zero, Local0)
            CopyObject (Local4, LIST)
        }

        // The list has become Arg0; nothing has changed below byte Arg1 of it
        Method (CHNG, 2, Serialized)
        {
            Local0 = HALF ^ One
            Local1 = SAME
            If (Arg1 < Local1)
            {
                Local1 = Arg1
            }
            Local1 &= 0xFFFFFF00
            Local2 = SizeOf (Arg0)
            Local3 = ADDR (Local0)
            While (Local1 < Local2)
            {
                POKE (Local3 + Local1, Mid (Arg0, Local1, 0x100))
                Local1 += 0x100
            }
            CopyObject (Arg0, LIST)
            NERR = Local2 / 24
            If (Local0)
            {
                CNT1 = NERR
            }
            Else
            {
                CNT0 = NERR
            }
            HALF = Local0
            SAME = Arg1
        }

        // The first unit of error Arg0
        Method (EBEG, 1)
        {
            Return (ToInteger (Mid (LIST, Arg0 * 24 + 9, 4)))
        }

        // The unit behind it
        Method (EEND, 1)
        {
            Return (EBEG (Arg0) + ToInteger (Mid (LIST, Arg0 * 24 + 17, 4)))
        }

        // The first error that ends behind unit Arg0
        Method (FIND, 1, Serialized)
        {
            Local0 = Zero
            Local1 = NERR
            While (Local0 < Local1)
            {
                Local2 = (Local0 + Local1) >> One
                If (EEND (Local2) > Arg0)
                {
                    Local1 = Local2
                }
                Else
                {
                    Local0 = Local2 + One
                }
            }
            Return (Local0)
        }

        // An error from unit Arg0 to before Arg1
        Method (MAKE, 2, Serialized)
        {
            Local0 = Buffer (24) {}
            CreateDWordField (Local0, 9, MBEG)
            CreateDWordField (Local0, 17, MLEN)
            MBEG = Arg0
            MLEN = Arg1 - Arg0
            Return (Local0)
        }

        // Puts Arg2 in the place of errors Arg0 to before Arg1; a status
        Method (REPL, 3, Serialized)
        {
            Local0 = Concatenate (Mid (LIST, Zero, Arg0 * 24), Arg2)
            Local1 = Concatenate (Local0, Mid (LIST, Arg1 * 24, SizeOf (LIST)))
            If (SizeOf (Local1) > 32256) // 1344 errors
            {
                Return (2)
            }
            CHNG (Local1, Arg0 * 24)
            Return (Zero)
        }

        // Joins the range to the errors that it meets; a status
        Method (JOIN, 0, Serialized)
        {
            Local0 = FIND (FRST - One)
            Local1 = Local0
            Local2 = FRST
            Local3 = LAST
            While (Local1 < NERR)
            {
                If (EBEG (Local1) > Local3)
                {
                    Break
                }
                If (EBEG (Local1) < Local2)
                {
                    Local2 = EBEG (Local1)
                }
                If (EEND (Local1) > Local3)
                {
                    Local3 = EEND (Local1)
                }
                Local1++
            }
            If (Local1 == Local0 + One)
            {
                If (EBEG (Local0) == Local2 && EEND (Local0) == Local3)
                {
                    Return (Zero) // known already
                }
            }
            Return (REPL (Local0, Local1, MAKE (Local2, Local3)))
        }

        // Cuts the range out of the errors; a status
        Method (CUTO, 0, Serialized)
        {
            Local0 = FIND (FRST)
            Local1 = Local0
            While (Local1 < NERR)
            {
                If (EBEG (Local1) >= LAST)
                {
                    Break
                }
                Local1++
            }
            If (Local0 == Local1)
            {
                Return (Zero)
            }
            Local2 = Mid (LIST, Zero, Zero)
            If (EBEG (Local0) < FRST)
            {
                Local3 = Concatenate (Local2, MAKE (EBEG (Local0), FRST))
                Local2 = Local3
            }
            Local4 = EEND (Local1 - One)
            If (Local4 > LAST)
            {
                Local3 = Concatenate (Local2, MAKE (LAST, Local4))
                Local2 = Local3
            }
            Return (REPL (Local0, Local1, Local2))
        }

        // The range that Arg0 begins with, address and length: whole units inside one
        // of the ranges of nfit.asl? A status
        Method (RANG, 1, Serialized)
        {
            CreateByteField (Arg0, 0, RLOW)
            CreateDWordField (Arg0, 1, RBEG)
            CreateField (Arg0, 40, 24, RHIG)
            CreateByteField (Arg0, 8, RLEL)
            CreateDWordField (Arg0, 9, RLEN)
            CreateField (Arg0, 104, 24, RLEH)
            If (RLOW || RHIG || RLEL || RLEH || RLEN == Zero || RLEN > 0x400000)
            {
                Return (2)
            }
            FRST = RBEG
            LAST = RBEG + RLEN
            If (FRST >= 0x1000000 && LAST <= 0x1400000)
            {
                Return (Zero)
            }
            If (FRST >= 0x1800000 && LAST <= 0x1C00000)
            {
                Return (Zero)
            }
            Return (2)
        }

        // A status, as a function's whole answer
        Method (STTS, 1, Serialized)
        {
            Local0 = Buffer (4) {}
            CreateDWordField (Local0, 0, SCOD)
            SCOD = Arg0
            Return (Local0)
        }

        // Query ARS capabilities: in address, length
        Method (QCAP, 0, Serialized)
        {
            Return (Buffer (16)
            {
                0x00, 0x00, 0x02, 0x00, // success; errors of persistent memory
                0x00, 0x80, 0x00, 0x00, // longest answer of "query ARS status"
                0x00, 0x01, 0x00, 0x00, // bytes that are cleared at once
                0x00, 0x00, 0x00, 0x00
            })
        }

        // Start ARS: in address, length, ...; out status, seconds
        Method (STRT, 1, Serialized)
        {
            Local0 = Buffer (8) {}
            CreateDWordField (Local0, 0, SCOD)
            CreateField (Arg0, 0, 128, SWHT)
            If (BUSY)
            {
                SCOD = 6
                Return (Local0)
            }
            SCRB = SWHT
            SCRN = One
            BUSY = SLOW
            Return (Local0)
        }

        // Query ARS status: the kernel waits until its own range is reported. It can
        // be any range: errors that reach out of it are clipped.
        Method (STAT, 0, Serialized)
        {
            Local0 = Buffer (48) {}
            CreateDWordField (Local0, 0, SCOD)
            CreateDWordField (Local0, 4, SOUT)
            CreateField (Local0, 64, 128, SWHT)
            CreateWordField (Local0, 40, STYP)
            CreateDWordField (Local0, 44, SNUM)
            SOUT = 44
            If (!SCRN)
            {
                SCOD = 0x00020000 // none since boot
                Return (Local0)
            }
            SWHT = SCRB
            STYP = 2 // persistent memory
            If (BUSY)
            {
                BUSY--
                SCOD = 0x00010000 // goes on
                Return (Local0)
            }
            CreateDWordField (SCRB, 1, SBEG)
            CreateDWordField (SCRB, 9, SLEN)
            Local1 = FIND (SBEG)
            Local3 = SBEG + SLEN
            Local2 = FIND (Local3)
            If (Local2 < NERR)
            {
                If (EBEG (Local2) < Local3)
                {
                    Local2++
                }
            }
            SNUM = Local2 - Local1
            SOUT = 44 + (Local2 - Local1) * 24
            If (Local1 == Local2)
            {
                Return (Local0)
            }
            Local4 = Mid (LIST, Local1 * 24, (Local2 - Local1) * 24)
            If (EBEG (Local1) < SBEG)
            {
                Local5 = MAKE (SBEG, EEND (Local1))
                Local6 = Concatenate (Local5, Mid (Local4, 24, SizeOf (Local4)))
                Local4 = Local6
            }
            If (EEND (Local2 - One) > Local3)
            {
                CreateDWordField (Local4, SizeOf (Local4) - 7, CLEN)
                CreateDWordField (Local4, SizeOf (Local4) - 15, CBEG)
                CLEN = Local3 - CBEG
            }
            Return (Concatenate (Local0, Local4))
        }

        // Clear an uncorrectable error: in address, length; out status, length
        Method (CLRE, 1, Serialized)
        {
            Local0 = Buffer (16) {}
            CreateDWordField (Local0, 0, SCOD)
            CreateField (Arg0, 64, 64, WANT)
            CreateField (Local0, 64, 64, DONE)
            SCOD = RANG (Arg0)
            If (SCOD)
            {
                Return (Local0)
            }
            If (LATE)
            {
                Sleep (LATE)
            }
            If (REFU)
            {
                SCOD = 3
                Return (Local0)
            }
            SCOD = CUTO ()
            If (SCOD == Zero)
            {
                DONE = WANT
            }
            Return (Local0)
        }

        // Translate a system physical address: it is known, but no DIMM lies behind it
        Method (XLAT, 1, Serialized)
        {
            Local0 = Buffer (20) {}
            CreateDWordField (Local0, 0, SCOD)
            CreateDWordField (Local0, 9, XLEN)
            Local1 = Buffer (16) {}
            CreateField (Arg0, 8, 56, XADR)
            CreateField (Local1, 8, 56, XBEG)
            CreateByteField (Local1, 9, XONE)
            XBEG = XADR
            XONE = One
            SCOD = RANG (Local1)
            XLEN = One
            Return (Local0)
        }

        // Inject an error: in address, length, options
        Method (INJE, 1, Serialized)
        {
            CreateByteField (Arg0, 16, IOPT)
            If (IOPT & 0x80)
            {
                Return (SWIT (Arg0))
            }
            Local0 = RANG (Arg0)
            If (Local0 == Zero)
            {
                Local0 = JOIN ()
            }
            If (Local0 == Zero && IOPT & One)
            {
                Notify (NVDR, 0x81)
            }
            Return (STTS (Local0))
        }

        // No standard has this: with bit 7 of the options, a switch is set. In place
        // of the address there is its number, and of the length its value.
        Method (SWIT, 1, Serialized)
        {
            CreateDWordField (Arg0, 0, WNUM)
            CreateDWordField (Arg0, 8, WVAL)
            If (WNUM == 1)
            {
                REFU = WVAL
            }
            ElseIf (WNUM == 2)
            {
                SLOW = WVAL
            }
            ElseIf (WNUM == 3)
            {
                LATE = WVAL
            }
            Else
            {
                Return (STTS (2))
            }
            Return (STTS (Zero))
        }

        // Take an injected error back: in address, length
        Method (UNIN, 1, Serialized)
        {
            Local0 = RANG (Arg0)
            If (Local0 == Zero)
            {
                Local0 = CUTO ()
            }
            Return (STTS (Local0))
        }

        // Which errors are injected? Those that were cleared are gone
        Method (INJS, 0, Serialized)
        {
            Local0 = Buffer (8) {}
            CreateDWordField (Local0, 4, INUM)
            INUM = NERR
            Local1 = Zero
            While (Local1 < NERR)
            {
                Local2 = Concatenate (Local0, Mid (LIST, Local1 * 24 + 8, 16))
                Local0 = Local2
                Local1++
            }
            Return (Local0)
        }

        Method (_DSM, 4, Serialized)
        {
            If (Arg0 != ToUUID ("2f10e7a4-9e91-11e4-89d3-123b93f75cba"))
            {
                Return (Buffer () { 0x00 })
            }
            If (Arg1 != One)
            {
                Return (Buffer () { 0x00 })
            }
            If (Arg2 == Zero)
            {
                Return (Buffer () { 0xBF, 0x03 }) // functions 0 to 5, 7 to 9
            }
            If (!INIT)
            {
                OPEN ()
            }
            Local0 = Buffer (32) {} // without input, as for functions 3 and 9
            If (SizeOf (Arg3))
            {
                Local0 = DerefOf (Arg3 [0])
            }
            If (Arg2 == 1) { Return (QCAP ()) }
            If (Arg2 == 2) { Return (STRT (Local0)) }
            If (Arg2 == 3) { Return (STAT ()) }
            If (Arg2 == 4) { Return (CLRE (Local0)) }
            If (Arg2 == 5) { Return (XLAT (Local0)) }
            If (Arg2 == 7) { Return (INJE (Local0)) }
            If (Arg2 == 8) { Return (UNIN (Local0)) }
            If (Arg2 == 9) { Return (INJS ()) }
            Return (STTS (One)) // not supported
        }
    }
}
