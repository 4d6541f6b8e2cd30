#include "textflag.h"

// The value of a class at eight grid points, at AX+at, against the best so far.
// The product is rounded before the sum, as Go does on this processor, so that both
// ways give the same bits. VMAXPS gives its second operand, the best, where one of
// them is no number or both are equal, as the comparison does.
#define EIGHT(at, best, arg) \
	VMULPS at(AX), Y12, Y8          \
	VADDPS Y13, Y8, Y8              \
	VCMPPS $0x1e, best, Y8, Y9      \ // greater, false for what is no number
	VMAXPS best, Y8, best           \
	VBLENDVPS Y9, Y15, arg, arg

// func winnersAVX2(arg *uint8, best, data *float32, plane, n, classes int, mul, add *float32)
//
// 32 grid points at a time stay in registers while the classes pass by: with fewer,
// each comparison would wait for the one before.
TEXT ·winnersAVX2(SB), NOSPLIT, $0-64
	MOVQ arg+0(FP), DI
	MOVQ best+8(FP), SI
	MOVQ data+16(FP), DX
	MOVQ plane+24(FP), R8
	MOVQ n+32(FP), R9
	MOVQ classes+40(FP), R10
	MOVQ mul+48(FP), R11
	MOVQ add+56(FP), R12
	SHLQ $2, R8
	VPCMPEQD Y14, Y14, Y14
	VPSRLD $31, Y14, Y14 // 1 in each lane

points:
	CMPQ R9, $32
	JLT  done
	MOVQ DX, AX
	VBROADCASTSS (R11), Y12
	VBROADCASTSS (R12), Y13
	VMULPS (AX), Y12, Y0 // the best
	VMULPS 32(AX), Y12, Y1
	VMULPS 64(AX), Y12, Y2
	VMULPS 96(AX), Y12, Y3
	VADDPS Y13, Y0, Y0
	VADDPS Y13, Y1, Y1
	VADDPS Y13, Y2, Y2
	VADDPS Y13, Y3, Y3
	VPXOR Y4, Y4, Y4 // its class
	VPXOR Y5, Y5, Y5
	VPXOR Y6, Y6, Y6
	VPXOR Y7, Y7, Y7
	VMOVDQA Y14, Y15 // the class at hand
	MOVQ $1, CX

class:
	CMPQ CX, R10
	JGE  store
	ADDQ R8, AX
	VBROADCASTSS (R11)(CX*4), Y12
	VBROADCASTSS (R12)(CX*4), Y13
	EIGHT(0, Y0, Y4)
	EIGHT(32, Y1, Y5)
	EIGHT(64, Y2, Y6)
	EIGHT(96, Y3, Y7)
	VPADDD Y14, Y15, Y15
	INCQ CX
	JMP  class

store:
	VMOVUPS Y0, (SI)
	VMOVUPS Y1, 32(SI)
	VMOVUPS Y2, 64(SI)
	VMOVUPS Y3, 96(SI)
	VPACKUSDW Y5, Y4, Y4 // 0-3 8-11 | 4-7 12-15
	VPACKUSDW Y7, Y6, Y6
	VPERMQ $0xd8, Y4, Y4 // in order
	VPERMQ $0xd8, Y6, Y6
	VPACKUSWB Y6, Y4, Y4
	VPERMQ $0xd8, Y4, Y4
	VMOVDQU Y4, (DI)
	ADDQ $128, DX
	ADDQ $128, SI
	ADDQ $32, DI
	SUBQ $32, R9
	JMP  points

done:
	VZEROUPPER
	RET
