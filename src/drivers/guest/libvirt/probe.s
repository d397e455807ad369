# A guest of 254 bytes that finds out whether an accelerator executes 64-bit code, and at a speed of use.
#
#   as probe.s -o probe.o && objcopy -O binary -j .text probe.o probe.bin
#
# QEMU loads it as a multiboot kernel at 1 MiB and enters it in 32-bit protected mode. It maps the first GiB with
# 2 MiB pages, enters long mode, writes 'L' to port 0xe9, does eight million rounds of arithmetic and memory access,
# and writes 0x21 to port 0xf4, which the isa-debug-exit device turns into exit status 67.
.code32
head:
        .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
        .long 0x100000, 0x100000, 0x100000 + (end - head), 0x100000 + (end - head), 0x100000 + (start - head)
start:
        cli
        movl $0x200000, %edi            # three page tables, zeroed
        xorl %eax, %eax
        movl $0xc00, %ecx
        cld
        rep stosl
        movl $0x201003, 0x200000        # level 4 and level 3
        movl $0x202003, 0x201000
        movl $0x83, %eax                # level 2: 512 large pages
        movl $0x202000, %edi
1:      movl %eax, (%edi)
        addl $0x200000, %eax
        addl $8, %edi
        cmpl $0x203000, %edi
        jb 1b
        movl $0x200000, %eax
        movl %eax, %cr3
        movl %cr4, %eax
        orl $0x20, %eax                 # PAE
        movl %eax, %cr4
        movl $0xc0000080, %ecx          # EFER.LME
        rdmsr
        orl $0x100, %eax
        wrmsr
        movl %cr0, %eax
        orl $0x80000000, %eax           # paging: long mode from here
        movl %eax, %cr0
        lgdt 0x100000 + (gdtr - head)
        ljmp $8, $0x100000 + (long - head)
.code64
long:
        movl $16, %eax
        movl %eax, %ds
        movl %eax, %ss
        movb $'L', %al
        outb %al, $0xe9
        movabsq $0x9e3779b97f4a7c15, %rbx
        xorl %eax, %eax
        movl $8000000, %ecx
2:      addq %rbx, %rax
        movl %eax, %edx
        andl $0xffff8, %edx
        xorq %rax, 0x300000(%rdx)
        rolq $13, %rax
        decl %ecx
        jnz 2b
        movl $0x21, %eax
        outb %al, $0xf4
3:      hlt
        jmp 3b
.align 8
gdt:    .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
gdtr:   .word gdtr - gdt - 1
        .long 0x100000 + (gdt - head)
end:
