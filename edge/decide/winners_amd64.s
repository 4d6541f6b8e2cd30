#include "textflag.h"

// func winnersAVX2(arg *uint8, best, data *float32, plane, n, classes int, mul, add *float32)
//
// Eight grid points at a time stay in registers while the classes pass by. The
// product is rounded before the sum, as Go does on this processor, so that both
// ways give the same bits.
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
	VPCMPEQD Y7, Y7, Y7
	VPSRLD $31, Y7, Y7 // 1 in each lane

points:
	CMPQ R9, $8
	JLT  done
	MOVQ DX, AX
	VBROADCASTSS (R11), Y2
	VBROADCASTSS (R12), Y3
	VMOVUPS (AX), Y0
	VMULPS Y2, Y0, Y0
	VADDPS Y3, Y0, Y0 // the best
	VPXOR Y1, Y1, Y1 // its class
	VMOVDQA Y7, Y6 // the class at hand
	MOVQ $1, CX

class:
	CMPQ CX, R10
	JGE  store
	ADDQ R8, AX
	VBROADCASTSS (R11)(CX*4), Y2
	VBROADCASTSS (R12)(CX*4), Y3
	VMOVUPS (AX), Y4
	VMULPS Y2, Y4, Y4
	VADDPS Y3, Y4, Y4
	VCMPPS $0x1e, Y0, Y4, Y5 // greater, false for what is no number
	VBLENDVPS Y5, Y4, Y0, Y0
	VBLENDVPS Y5, Y6, Y1, Y1
	VPADDD Y7, Y6, Y6
	INCQ CX
	JMP  class

store:
	VMOVUPS Y0, (SI)
	VEXTRACTI128 $1, Y1, X2
	VPACKUSDW X2, X1, X1
	VPACKUSWB X1, X1, X1
	VMOVQ X1, (DI)
	ADDQ $32, DX
	ADDQ $32, SI
	ADDQ $8, DI
	SUBQ $8, R9
	JMP  points

done:
	VZEROUPPER
	RET
