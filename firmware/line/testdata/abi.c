// Prints the sizes, offsets and request numbers of the kernel's <linux/gpio.h>, which
// abi.go repeats:   cc abi.c -o abi && ./abi > abi.txt
#include <linux/gpio.h>
#include <stddef.h>
#include <stdio.h>

#define SIZE(t) printf("sizeof %s %zu\n", #t, sizeof(struct t))
#define AT(t, f) printf("offset %s.%s %zu\n", #t, #f, offsetof(struct t, f))
#define NUMBER(n) printf("number %s %#lx\n", #n, (unsigned long)(n))

int main(void) {
  SIZE(gpiochip_info);
  AT(gpiochip_info, label);
  AT(gpiochip_info, lines);
  SIZE(gpio_v2_line_info);
  AT(gpio_v2_line_info, consumer);
  AT(gpio_v2_line_info, offset);
  AT(gpio_v2_line_info, flags);
  SIZE(gpio_v2_line_request);
  AT(gpio_v2_line_request, consumer);
  AT(gpio_v2_line_request, config);
  AT(gpio_v2_line_request, num_lines);
  AT(gpio_v2_line_request, fd);
  SIZE(gpio_v2_line_config);
  AT(gpio_v2_line_config, num_attrs);
  AT(gpio_v2_line_config, attrs);
  SIZE(gpio_v2_line_config_attribute);
  AT(gpio_v2_line_config_attribute, attr.debounce_period_us);
  AT(gpio_v2_line_config_attribute, attr.values);
  AT(gpio_v2_line_config_attribute, mask);
  SIZE(gpio_v2_line_values);
  AT(gpio_v2_line_values, mask);
  SIZE(gpio_v2_line_event);
  AT(gpio_v2_line_event, id);
  NUMBER(GPIO_GET_CHIPINFO_IOCTL);
  NUMBER(GPIO_V2_GET_LINEINFO_IOCTL);
  NUMBER(GPIO_V2_GET_LINE_IOCTL);
  NUMBER(GPIO_V2_LINE_GET_VALUES_IOCTL);
  NUMBER(GPIO_V2_LINE_SET_VALUES_IOCTL);
  NUMBER(GPIO_V2_LINE_FLAG_USED);
  NUMBER(GPIO_V2_LINE_FLAG_ACTIVE_LOW);
  NUMBER(GPIO_V2_LINE_FLAG_INPUT);
  NUMBER(GPIO_V2_LINE_FLAG_OUTPUT);
  NUMBER(GPIO_V2_LINE_FLAG_EDGE_RISING);
  NUMBER(GPIO_V2_LINE_FLAG_EDGE_FALLING);
  NUMBER(GPIO_V2_LINE_FLAG_BIAS_PULL_UP);
  NUMBER(GPIO_V2_LINE_FLAG_BIAS_PULL_DOWN);
  NUMBER(GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES);
  NUMBER(GPIO_V2_LINE_ATTR_ID_DEBOUNCE);
  NUMBER(GPIO_V2_LINE_EVENT_RISING_EDGE);
  NUMBER(GPIO_V2_LINE_EVENT_FALLING_EDGE);
  return 0;
}
