/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The firmware behind the ranges of nfit.asl, as the ACPI specification has it in
 * "NVDIMM Root Device _DSMs". Layouts as in the kernel's include/uapi/linux/ndctl.h.
 *
 * Integers are 32 bits wide, because QEMU's DSDT is of revision 1. Addresses and
 * lengths are 64: they are copied as fields of buffers.
 */
DefinitionBlock ("", "SSDT", 1, "DAXLAB", "NFIT", 1)
{
    Device (\_SB.NVDR)
    {
        Name (_HID, "ACPI0012")

        // Was a scrub started since boot, and of which range (address, length)?
        Name (SCRN, Zero)
        Name (SCRB, Buffer (16) {})

        // Query ARS capabilities: in address, length
        Method (QCAP, 0, Serialized)
        {
            Return (Buffer (16)
            {
                0x00, 0x00, 0x02, 0x00, // success; errors of persistent memory
                0x00, 0x10, 0x00, 0x00, // longest answer of "query ARS status"
                0x00, 0x01, 0x00, 0x00, // bytes that are cleared at once
                0x00, 0x00, 0x00, 0x00
            })
        }

        // Start ARS: in address, length, ...; it is done at once
        Method (STRT, 1, Serialized)
        {
            CreateField (Arg0, 0, 128, RANG)
            SCRB = RANG
            SCRN = One
            Return (Buffer (8) {}) // success; takes no time
        }

        // Query ARS status: the kernel waits until its own range is reported
        Method (STAT, 0, Serialized)
        {
            Local0 = Buffer (48) {}
            CreateDWordField (Local0, 0, STTS)
            CreateDWordField (Local0, 4, OLEN)
            CreateField (Local0, 64, 128, RANG)
            CreateWordField (Local0, 40, TYPE)
            STTS = Zero
            OLEN = 44
            If (!SCRN)
            {
                STTS = 0x00020000 // none since boot
                Return (Local0)
            }
            RANG = SCRB
            TYPE = 2 // persistent memory
            Return (Local0)
        }

        // Clear an uncorrectable error: in address, length
        Method (CLRE, 1, Serialized)
        {
            Local0 = Buffer (16) {}
            CreateField (Arg0, 64, 64, WANT)
            CreateField (Local0, 64, 64, DONE)
            DONE = WANT
            Return (Local0)
        }

        // Translate a system physical address: no DIMM lies behind it
        Method (XLAT, 0, Serialized)
        {
            Return (Buffer (20) {})
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
                Return (Buffer () { 0x3F }) // functions 0 to 5
            }
            Local0 = Buffer (32) {} // without input, as for function 3
            If (SizeOf (Arg3))
            {
                Local0 = DerefOf (Arg3 [0])
            }
            If (Arg2 == 1) { Return (QCAP ()) }
            If (Arg2 == 2) { Return (STRT (Local0)) }
            If (Arg2 == 3) { Return (STAT ()) }
            If (Arg2 == 4) { Return (CLRE (Local0)) }
            If (Arg2 == 5) { Return (XLAT ()) }
            Return (Buffer (4) { 0x01, 0x00, 0x00, 0x00 }) // not supported
        }
    }
}
