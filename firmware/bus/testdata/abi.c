// Prints the sizes, offsets and numbers of the kernel's <linux/i2c-dev.h>, which abi.go
// repeats:   cc abi.c -o abi && ./abi > abi.txt
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <stddef.h>
#include <stdio.h>

#define SIZE(k, t) printf("sizeof %s %zu\n", #t, sizeof(k t))
#define AT(t, f) printf("offset %s.%s %zu\n", #t, #f, offsetof(struct t, f))
#define NUMBER(n) printf("number %s %#lx\n", #n, (unsigned long)(n))

int main(void) {
  SIZE(struct, i2c_smbus_ioctl_data);
  AT(i2c_smbus_ioctl_data, read_write);
  AT(i2c_smbus_ioctl_data, command);
  AT(i2c_smbus_ioctl_data, size);
  AT(i2c_smbus_ioctl_data, data);
  SIZE(union, i2c_smbus_data);
  NUMBER(I2C_SLAVE);
  NUMBER(I2C_FUNCS);
  NUMBER(I2C_SMBUS);
  NUMBER(I2C_SMBUS_READ);
  NUMBER(I2C_SMBUS_WRITE);
  NUMBER(I2C_SMBUS_BYTE);
  NUMBER(I2C_SMBUS_BYTE_DATA);
  NUMBER(I2C_SMBUS_WORD_DATA);
  NUMBER(I2C_SMBUS_I2C_BLOCK_DATA);
  NUMBER(I2C_SMBUS_BLOCK_MAX);
  NUMBER(I2C_FUNC_I2C);
  NUMBER(I2C_FUNC_SMBUS_READ_BYTE);
  NUMBER(I2C_FUNC_SMBUS_WRITE_BYTE);
  NUMBER(I2C_FUNC_SMBUS_READ_BYTE_DATA);
  NUMBER(I2C_FUNC_SMBUS_WRITE_BYTE_DATA);
  NUMBER(I2C_FUNC_SMBUS_READ_WORD_DATA);
  NUMBER(I2C_FUNC_SMBUS_WRITE_WORD_DATA);
  NUMBER(I2C_FUNC_SMBUS_READ_I2C_BLOCK);
  NUMBER(I2C_FUNC_SMBUS_WRITE_I2C_BLOCK);
  return 0;
}
