#include "textflag.h"

// Of the 24 bytes of eight pixels, the first 16 and the last 16: where the bytes of
// each channel lie in either, -1 where they lie in the other.
DATA firstR<>+0(SB)/8, $0xffff0f0c09060300
DATA firstR<>+8(SB)/8, $-1
DATA lastR<>+0(SB)/8, $0x0d0affffffffffff
DATA lastR<>+8(SB)/8, $-1
DATA firstG<>+0(SB)/8, $0xffffff0d0a070401
DATA firstG<>+8(SB)/8, $-1
DATA lastG<>+0(SB)/8, $0x0e0b08ffffffffff
DATA lastG<>+8(SB)/8, $-1
DATA firstB<>+0(SB)/8, $0xffffff0e0b080502
DATA firstB<>+8(SB)/8, $-1
DATA lastB<>+0(SB)/8, $0x0f0c09ffffffffff
DATA lastB<>+8(SB)/8, $-1
GLOBL firstR<>(SB), RODATA|NOPTR, $16
GLOBL lastR<>(SB), RODATA|NOPTR, $16
GLOBL firstG<>(SB), RODATA|NOPTR, $16
GLOBL lastG<>(SB), RODATA|NOPTR, $16
GLOBL firstB<>(SB), RODATA|NOPTR, $16
GLOBL lastB<>(SB), RODATA|NOPTR, $16

// func planesAVX2(dst *float32, pix *uint8, plane, n int, mul, add *[3]float32)
//
// The product is rounded before the sum, as the table is made, so that both ways
// give the same bits.
TEXT ·planesAVX2(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ pix+8(FP), SI
	MOVQ plane+16(FP), R8
	MOVQ n+24(FP), R9
	MOVQ mul+32(FP), R11
	MOVQ add+40(FP), R12
	LEAQ (DI)(R8*4), R13 // the second plane
	LEAQ (R13)(R8*4), R14 // the third
	VMOVDQU firstR<>(SB), X6
	VMOVDQU lastR<>(SB), X7
	VMOVDQU firstG<>(SB), X8
	VMOVDQU lastG<>(SB), X9
	VMOVDQU firstB<>(SB), X10
	VMOVDQU lastB<>(SB), X11
	VBROADCASTSS (R11), Y12
	VBROADCASTSS 4(R11), Y13
	VBROADCASTSS 8(R11), Y14
	VBROADCASTSS (R12), Y3
	VBROADCASTSS 4(R12), Y4
	VBROADCASTSS 8(R12), Y5

pixels:
	CMPQ R9, $8
	JLT  done
	VMOVDQU (SI), X0
	VMOVDQU 8(SI), X1

	VPSHUFB X6, X0, X2
	VPSHUFB X7, X1, X15
	VPOR    X15, X2, X2
	VPMOVZXBD X2, Y2
	VCVTDQ2PS Y2, Y2
	VMULPS  Y12, Y2, Y2
	VADDPS  Y3, Y2, Y2
	VMOVUPS Y2, (DI)

	VPSHUFB X8, X0, X2
	VPSHUFB X9, X1, X15
	VPOR    X15, X2, X2
	VPMOVZXBD X2, Y2
	VCVTDQ2PS Y2, Y2
	VMULPS  Y13, Y2, Y2
	VADDPS  Y4, Y2, Y2
	VMOVUPS Y2, (R13)

	VPSHUFB X10, X0, X2
	VPSHUFB X11, X1, X15
	VPOR    X15, X2, X2
	VPMOVZXBD X2, Y2
	VCVTDQ2PS Y2, Y2
	VMULPS  Y14, Y2, Y2
	VADDPS  Y5, Y2, Y2
	VMOVUPS Y2, (R14)

	ADDQ $24, SI
	ADDQ $32, DI
	ADDQ $32, R13
	ADDQ $32, R14
	SUBQ $8, R9
	JMP  pixels

done:
	VZEROUPPER
	RET
