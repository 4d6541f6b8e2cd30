//go:build tensorflow && cgo

package tensorflow

/*
// Half of the C interface is in this library; the binding names only the other.
#cgo LDFLAGS: -ltensorflow_framework

#include <stddef.h>

// From tensorflow/c/tf_status.h; TF_INTERNAL is 13.
typedef struct TF_Status TF_Status;
extern void TF_SetStatus(TF_Status *s, int code, const char *msg);

// Three functions that the binding names left the library with TensorFlow 2.4,
// when string tensors took another form. Numeric tensors, the only ones here, never
// call them; were they called, the status would say so.
static size_t gone(TF_Status *status) {
	TF_SetStatus(status, 13, "string tensors of TensorFlow before 2.4 are gone");
	return 0;
}

size_t TF_StringEncode(const char *src, size_t src_len, char *dst, size_t dst_len, TF_Status *status) {
	(void)src; (void)src_len; (void)dst; (void)dst_len;
	return gone(status);
}

size_t TF_StringDecode(const char *src, size_t src_len, const char **dst, size_t *dst_len, TF_Status *status) {
	(void)src; (void)src_len;
	*dst = NULL;
	*dst_len = 0;
	return gone(status);
}

size_t TF_StringEncodedSize(size_t len) { return len; }
*/
import "C"
