// Prints the sizes, offsets and numbers of the kernel's <linux/videodev2.h> that abi.go
// repeats:   cc abi.c -o abi && ./abi > abi.txt
#include <linux/videodev2.h>
#include <stddef.h>
#include <stdio.h>

#define SIZE(t) printf("sizeof %s %zu\n", #t, sizeof(struct t))
#define AT(t, f) printf("offset %s.%s %zu\n", #t, #f, offsetof(struct t, f))
#define NUMBER(n) printf("number %s %#lx\n", #n, (unsigned long)(n))

int main(void) {
  SIZE(v4l2_queryctrl);
  AT(v4l2_queryctrl, id);
  AT(v4l2_queryctrl, type);
  AT(v4l2_queryctrl, minimum);
  AT(v4l2_queryctrl, maximum);
  AT(v4l2_queryctrl, step);
  AT(v4l2_queryctrl, flags);
  SIZE(v4l2_ext_controls);
  AT(v4l2_ext_controls, which);
  AT(v4l2_ext_controls, count);
  AT(v4l2_ext_controls, error_idx);
  AT(v4l2_ext_controls, controls);
  SIZE(v4l2_ext_control);
  AT(v4l2_ext_control, id);
  AT(v4l2_ext_control, value);
  NUMBER(VIDIOC_QUERYCTRL);
  NUMBER(VIDIOC_G_EXT_CTRLS);
  NUMBER(VIDIOC_S_EXT_CTRLS);
  NUMBER(V4L2_CTRL_FLAG_DISABLED);
  NUMBER(V4L2_CTRL_FLAG_READ_ONLY);
  NUMBER(V4L2_CTRL_TYPE_INTEGER);
  NUMBER(V4L2_CTRL_TYPE_BOOLEAN);
  NUMBER(V4L2_CTRL_TYPE_MENU);
  NUMBER(V4L2_CID_EXPOSURE_AUTO);
  NUMBER(V4L2_CID_EXPOSURE_ABSOLUTE);
  NUMBER(V4L2_CID_EXPOSURE_AUTO_PRIORITY);
  NUMBER(V4L2_CID_AUTOGAIN);
  NUMBER(V4L2_CID_GAIN);
  NUMBER(V4L2_CID_ANALOGUE_GAIN);
  NUMBER(V4L2_EXPOSURE_MANUAL);
  return 0;
}
