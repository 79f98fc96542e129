"""Arithmetic, primes, number theory, bits and recursion."""
from .base import family

family("factorial", "factorial fact calc_factorial", "n: int -> int",
       "returns the factorial of $n | computes $n factorial with a loop",
       "返回 $n 的阶乘 | 用循环计算 $n 的阶乘",
       "result = 1\nfor i in range(2, $n + 1):\n    result *= i\nreturn result", "(5) == 120\n(0) == 1", topic=("the factorial", "阶乘"))
family("factorial_rec", "factorial_recursive rec_factorial fact_rec", "n: int -> int",
       "returns the factorial of $n recursively | computes $n factorial by recursion",
       "用递归返回 $n 的阶乘 | 递归计算 $n 的阶乘",
       "if $n <= 1:\n    return 1\nreturn $n * $f($n - 1)", "(5) == 120\n(0) == 1")
family("fibonacci", "fibonacci fib nth_fib", "n: int -> int",
       "returns the $n-th Fibonacci number | computes the Fibonacci number at position $n with a loop",
       "返回第 $n 个斐波那契数 | 用循环计算第 $n 项斐波那契数",
       "a, b = 0, 1\nfor _ in range($n):\n    a, b = b, a + b\nreturn a", "(10) == 55\n(0) == 0\n(1) == 1", topic=("the Fibonacci number", "斐波那契数"))
family("fibonacci_rec", "fib_recursive rec_fib fibonacci_rec", "n: int -> int",
       "returns the $n-th Fibonacci number recursively | computes the Fibonacci number at position $n by recursion",
       "用递归返回第 $n 个斐波那契数 | 递归计算第 $n 项斐波那契数",
       "if $n < 2:\n    return $n\nreturn $f($n - 1) + $f($n - 2)", "(10) == 55\n(0) == 0\n(1) == 1")
family("fib_list", "fib_list fib_sequence first_fibs", "n: int -> list[int]",
       "returns the first $n Fibonacci numbers as a list | makes a list of the first $n Fibonacci numbers",
       "返回前 $n 个斐波那契数的列表 | 生成斐波那契数列的前 $n 项",
       "result = []\na, b = 0, 1\nfor _ in range($n):\n    result.append(a)\n    a, b = b, a + b\nreturn result", "(5) == [0, 1, 1, 2, 3]\n(0) == []", topic=("the Fibonacci sequence", "斐波那契数列"))
family("is_prime", "is_prime check_prime prime_test", "n: int -> bool",
       "checks whether $n is prime | tells whether the number $n is a prime number",
       "判断 $n 是否为质数 | 检查数字 $n 是不是素数",
       "if $n < 2:\n    return False\ni = 2\nwhile i * i <= $n:\n    if $n % i == 0:\n        return False\n    i += 1\nreturn True", "(7) == True\n(9) == False\n(1) == False\n(2) == True", topic=("a prime check", "质数判断"))
family("primes_up_to", "primes_up_to list_primes primes_below", "limit: int -> list[int]",
       "returns all primes up to $limit | makes a list of the prime numbers not greater than $limit",
       "返回不超过 $limit 的所有质数 | 列出 $limit 以内的素数",
       "return [n for n in range(2, $limit + 1) if all(n % d for d in range(2, n))]", "(10) == [2, 3, 5, 7]\n(1) == []")
family("sieve", "sieve sieve_primes eratosthenes", "limit: int -> list[int]",
       "returns all primes up to $limit with the sieve of Eratosthenes | uses the sieve of Eratosthenes to list the primes up to $limit",
       "用埃拉托斯特尼筛法返回不超过 $limit 的所有质数 | 使用筛法列出 $limit 以内的素数",
       """
flags = [True] * ($limit + 1)
primes = []
for n in range(2, $limit + 1):
    if flags[n]:
        primes.append(n)
        for m in range(n * n, $limit + 1, n):
            flags[m] = False
return primes
""", "(10) == [2, 3, 5, 7]\n(1) == []\n(2) == [2]", topic=("the sieve of Eratosthenes", "埃拉托斯特尼筛法"))
family("prime_factors", "prime_factors factorize factor", "n: int -> list[int]",
       "returns the prime factors of $n | computes the list of prime factors of $n in ascending order",
       "返回 $n 的质因数 | 将 $n 分解质因数，升序返回列表",
       "factors = []\nd = 2\nwhile $n > 1:\n    while $n % d == 0:\n        factors.append(d)\n        $n //= d\n    d += 1\nreturn factors", "(12) == [2, 2, 3]\n(1) == []\n(13) == [13]", topic=("prime factorization", "质因数分解"))
family("divisors", "divisors list_divisors all_factors", "n: int -> list[int]",
       "returns all divisors of $n | makes a list of the positive divisors of $n",
       "返回 $n 的所有约数 | 列出 $n 的全部正因数",
       "return [d for d in range(1, $n + 1) if $n % d == 0]", "(6) == [1, 2, 3, 6]\n(1) == [1]")
family("count_divisors", "count_divisors divisor_count num_factors", "n: int -> int",
       "counts the divisors of $n | returns how many positive divisors $n has",
       "统计 $n 的约数个数 | 返回 $n 有多少个正因数",
       "return sum(1 for d in range(1, $n + 1) if $n % d == 0)", "(6) == 4\n(1) == 1")
family("gcd", "gcd greatest_divisor euclid", "a: int, b: int -> int",
       "returns the greatest common divisor of $a and $b | computes the gcd of $a and $b with Euclid's algorithm",
       "返回 $a 和 $b 的最大公约数 | 用辗转相除法求 $a 与 $b 的最大公约数",
       "while $b:\n    $a, $b = $b, $a % $b\nreturn $a", "(12, 18) == 6\n(7, 0) == 7", topic=("the greatest common divisor", "最大公约数"))
family("lcm", "lcm least_multiple common_multiple", "a: int, b: int -> int",
       "returns the least common multiple of $a and $b | computes the lcm of $a and $b",
       "返回 $a 和 $b 的最小公倍数 | 求 $a 与 $b 的最小公倍数",
       "return $a * $b // math.gcd($a, $b)", "(4, 6) == 12\n(3, 5) == 15", imports="import math", topic=("the least common multiple", "最小公倍数"))
family("is_parity", "is_$par check_$par ${par}_test", "n: int -> bool",
       "checks whether $n is $par | tells whether the number $n is $par",
       "判断 $n 是否为$par_zh | 检查数字 $n 是不是$par_zh",
       "return $n % 2 == $r", "(3) == bool($r)\n(4) == (not $r)",
       vary=dict(par=[dict(par="even", par_zh="偶数", r="0"), dict(par="odd", par_zh="奇数", r="1")]))
family("is_multiple", "is_multiple divisible_by_$k multiple_of_$k", "n: int -> bool",
       "checks whether $n is divisible by $k | tells whether the number $n is a multiple of $k",
       "判断 $n 是否能被 $k 整除 | 检查数字 $n 是不是 $k 的倍数",
       "return $n % $k == 0", "($k * 3) == True\n($k + 1) == False", vary=dict(k=range(2, 100)))
family("digit_sum", "digit_sum sum_digits add_digits", "n: int -> int",
       "returns the sum of the digits of $n | adds up the digits of $n",
       "返回 $n 各位数字之和 | 计算 $n 的每一位数字的和",
       "return sum(int(d) for d in str(abs($n)))", "(123) == 6\n(0) == 0\n(-12) == 3", topic=("the digit sum", "数字各位求和"))
family("digit_product", "digit_product multiply_digits product_of_digits", "n: int -> int",
       "returns the product of the digits of $n | multiplies the digits of $n",
       "返回 $n 各位数字之积 | 计算 $n 的每一位数字的乘积",
       "result = 1\nfor d in str(abs($n)):\n    result *= int(d)\nreturn result", "(123) == 6\n(40) == 0")
family("count_digits", "count_digits digit_count number_length", "n: int -> int",
       "counts the digits of $n | returns how many digits the integer $n has",
       "统计 $n 的位数 | 返回整数 $n 有多少位数字",
       "return len(str(abs($n)))", "(123) == 3\n(0) == 1\n(-12) == 2")
family("reverse_number", "reverse_number reverse_digits flip_number", "n: int -> int",
       "reverses the digits of the non-negative integer $n | returns $n with its digits in reverse order",
       "将非负整数 $n 的各位数字反转 | 返回数字倒序后的 $n",
       "return int(str($n)[::-1])", "(123) == 321\n(10) == 1")
family("palindrome_number", "is_palindrome_number number_palindrome same_reversed", "n: int -> bool",
       "checks whether the number $n is a palindrome | tells whether the digits of $n read the same backwards",
       "判断数字 $n 是否为回文数 | 检查 $n 的各位数字倒过来是否相同",
       "return str($n) == str($n)[::-1]", "(121) == True\n(12) == False", topic=("a palindrome number check", "回文数判断"))
family("is_armstrong", "is_armstrong armstrong is_narcissistic", "n: int -> bool",
       "checks whether $n is an Armstrong number | tells whether $n equals the sum of its digits raised to the number of digits",
       "判断 $n 是否为水仙花数 | 检查 $n 是否等于其各位数字的位数次幂之和",
       "digits = str($n)\nreturn $n == sum(int(d) ** len(digits) for d in digits)", "(153) == True\n(154) == False", topic=("an Armstrong number check", "水仙花数判断"))
family("is_perfect", "is_perfect perfect_number check_perfect", "n: int -> bool",
       "checks whether $n is a perfect number | tells whether $n equals the sum of its proper divisors",
       "判断 $n 是否为完全数 | 检查 $n 是否等于它的真因数之和",
       "return $n > 1 and $n == sum(d for d in range(1, $n) if $n % d == 0)", "(6) == True\n(8) == False\n(1) == False", topic=("a perfect number check", "完全数判断"))
family("is_square", "is_square perfect_square check_square", "n: int -> bool",
       "checks whether $n is a perfect square | tells whether $n is the square of an integer",
       "判断 $n 是否为完全平方数 | 检查 $n 是不是某个整数的平方",
       "return $n >= 0 and math.isqrt($n) ** 2 == $n", "(16) == True\n(15) == False\n(-4) == False", imports="import math")
family("is_leap", "is_leap leap_year is_leap_year", "year: int -> bool",
       "checks whether $year is a leap year | tells whether the year $year is a leap year",
       "判断 $year 是否为闰年 | 检查年份 $year 是不是闰年",
       "return $year % 4 == 0 and ($year % 100 != 0 or $year % 400 == 0)", "(2024) == True\n(1900) == False\n(2000) == True", topic=("a leap year check", "闰年判断"))
family("power", "power pow_int raise_to", "base: int, exp: int -> int",
       "returns $base raised to the power $exp without using ** | computes $base to the power of $exp with a loop",
       "不使用 ** 返回 $base 的 $exp 次方 | 用循环计算 $base 的 $exp 次幂",
       "result = 1\nfor _ in range($exp):\n    result *= $base\nreturn result", "(2, 10) == 1024\n(5, 0) == 1")
family("fast_power", "fast_power quick_pow binary_power", "base: int, exp: int -> int",
       "computes $base to the power $exp by fast exponentiation | uses binary exponentiation to raise $base to $exp",
       "用快速幂计算 $base 的 $exp 次方 | 使用二进制快速幂求 $base 的 $exp 次幂",
       "result = 1\nwhile $exp:\n    if $exp & 1:\n        result *= $base\n    $base *= $base\n    $exp >>= 1\nreturn result", "(2, 10) == 1024\n(5, 0) == 1\n(3, 5) == 243", topic=("fast exponentiation", "快速幂"))
family("sum_to_n", "sum_to_n sum_first add_up_to", "n: int -> int",
       "returns the sum of the integers from 1 to $n | adds up all integers from 1 to $n",
       "返回 1 到 $n 的整数之和 | 计算从 1 加到 $n 的和",
       "return $n * ($n + 1) // 2", "(10) == 55\n(0) == 0")
family("sum_multiples", "sum_multiples multiples_sum add_multiples", "n: int -> int",
       "returns the sum of the multiples of $a or $b below $n | adds up all numbers below $n that are divisible by $a or $b",
       "返回小于 $n 的 $a 或 $b 的倍数之和 | 计算 $n 以下所有能被 $a 或 $b 整除的数之和",
       "return sum(i for i in range($n) if i % $a == 0 or i % $b == 0)", "(20) == sum(i for i in range(20) if not i % $a or not i % $b)\n(0) == 0", vary=dict(a=range(2, 10), b=range(10, 30)))
family("collatz", "collatz_steps collatz count_collatz", "n: int -> int",
       "counts the Collatz steps from $n to 1 | returns how many steps the Collatz sequence of $n takes to reach 1",
       "统计 $n 按考拉兹规则变为 1 的步数 | 返回 $n 的考拉兹序列到达 1 所需的步数",
       "steps = 0\nwhile $n != 1:\n    $n = $n // 2 if $n % 2 == 0 else 3 * $n + 1\n    steps += 1\nreturn steps", "(6) == 8\n(1) == 0", topic=("the Collatz sequence", "考拉兹猜想"))
family("to_base", "to_$bname int_to_$bname ${bname}_string", "n: int -> str",
       "converts the non-negative integer $n to a $bname string | returns $n written in $bname without a prefix",
       "将非负整数 $n 转换为$bzh字符串 | 返回 $n 的$bzh表示，不带前缀",
       "return format($n, '$bf')", "(10) == format(10, '$bf')\n(0) == '0'",
       vary=dict(b=[dict(bname="binary", bzh="二进制", bf="b"), dict(bname="octal", bzh="八进制", bf="o"), dict(bname="hex", bzh="十六进制", bf="x")]))
family("from_base", "from_$bname parse_$bname ${bname}_to_int", "text: str -> int",
       "converts the $bname string $text to an integer | returns the integer that $text means in $bname",
       "将$bzh字符串 $text 转换为整数 | 返回$bzh串 $text 表示的整数",
       "return int($text, $bv)", "('101') == int('101', $bv)\n('0') == 0",
       vary=dict(b=[dict(bname="binary", bzh="二进制", bv="2"), dict(bname="octal", bzh="八进制", bv="8"), dict(bname="hex", bzh="十六进制", bv="16")]))
family("to_any_base", "to_base_$k convert_base_$k base_$k", "n: int -> str",
       "converts the non-negative integer $n to base $k | returns the digits of $n in base $k as a string",
       "将非负整数 $n 转换为 $k 进制 | 返回 $n 的 $k 进制字符串",
       "if $n == 0:\n    return '0'\ndigits = ''\nwhile $n:\n    digits = str($n % $k) + digits\n    $n //= $k\nreturn digits", "(0) == '0'\n($k) == '10'", vary=dict(k=range(2, 10)))
family("count_bits", "count_bits popcount count_ones", "n: int -> int",
       "counts the 1 bits of $n | returns the number of ones in the binary form of $n",
       "统计 $n 的二进制中 1 的个数 | 返回 $n 的二进制表示里有多少个 1",
       "return bin($n).count('1')", "(7) == 3\n(0) == 0", topic=("counting one bits", "统计二进制中 1 的个数"))
family("power_of_two", "is_power_of_two power_of_two check_power_two", "n: int -> bool",
       "checks whether $n is a power of two | tells whether the integer $n is a power of 2 by a bit trick",
       "判断 $n 是否为 2 的幂 | 用位运算检查整数 $n 是不是 2 的幂",
       "return $n > 0 and $n & ($n - 1) == 0", "(8) == True\n(6) == False\n(0) == False")
family("get_bit", "get_bit read_bit bit_at", "n: int, pos: int -> int",
       "returns the bit of $n at position $pos | reads bit $pos of the integer $n",
       "返回 $n 在第 $pos 位的比特 | 读取整数 $n 的第 $pos 位",
       "return ($n >> $pos) & 1", "(5, 0) == 1\n(5, 1) == 0")
family("bit_change", "${op}_bit bit_$op change_bit", "n: int, pos: int -> int",
       "$op_en the bit of $n at position $pos | returns $n after it $op_en bit $pos",
       "将 $n 的第 $pos 位$op_zh | 返回把 $n 的第 $pos 位$op_zh后的值",
       "return $n $code << $pos$close", "(5, 1) == 5 $code << 1$close\n(5, 0) == 5 $code << 0$close",
       vary=dict(op=[dict(op="set", op_en="sets", op_zh="置 1", code="| (1", close=")"), dict(op="clear", op_en="clears", op_zh="清 0", code="& ~(1", close=")"), dict(op="toggle", op_en="toggles", op_zh="取反", code="^ (1", close=")")]))
family("xor_swap", "xor_swap swap_values swap_xor", "a: int, b: int -> tuple",
       "swaps $a and $b with xor and returns both | returns $b and $a swapped by the xor trick",
       "用异或交换 $a 和 $b 并返回 | 使用异或运算交换两个整数 $a 与 $b",
       "$a ^= $b\n$b ^= $a\n$a ^= $b\nreturn $a, $b", "(1, 2) == (2, 1)\n(5, 5) == (5, 5)")
family("clamp", "clamp limit bound", "value: int, low: int, high: int -> int",
       "limits $value to the range from $low to $high | clamps $value between $low and $high",
       "将 $value 限制在 $low 到 $high 之间 | 把 $value 截断到 $low 至 $high 的范围",
       "return max($low, min($high, $value))", "(5, 0, 3) == 3\n(-1, 0, 3) == 0\n(2, 0, 3) == 2")
family("sign", "sign sign_of get_sign", "n: int -> int",
       "returns 1, 0 or -1 by the sign of $n | tells the sign of $n as 1, 0 or -1",
       "根据 $n 的符号返回 1、0 或 -1 | 求数字 $n 的符号，正为 1，负为 -1，零为 0",
       "if $n > 0:\n    return 1\nif $n < 0:\n    return -1\nreturn 0", "(5) == 1\n(-2) == -1\n(0) == 0")
family("absolute", "absolute abs_value magnitude", "n: int -> int",
       "returns the absolute value of $n without abs | computes the absolute value of $n without using abs",
       "不使用 abs 返回 $n 的绝对值 | 不用内置函数计算 $n 的绝对值",
       "return -$n if $n < 0 else $n", "(-3) == 3\n(4) == 4")
family("max_of_three", "max_of_three biggest_of_three max3", "a: int, b: int, c: int -> int",
       "returns the largest of $a, $b and $c | finds the maximum of the three numbers $a, $b and $c",
       "返回 $a、$b 和 $c 中最大的数 | 求三个数 $a、$b、$c 的最大值",
       "return max($a, $b, $c)", "(1, 3, 2) == 3\n(5, 5, 5) == 5")
family("add_two", "add add_numbers plus", "a: int, b: int -> int",
       "returns the sum of $a and $b | adds the two numbers $a and $b",
       "返回 $a 与 $b 的和 | 计算两个数 $a 和 $b 相加的结果",
       "return $a + $b", "(1, 2) == 3\n(-1, 1) == 0")
family("safe_divide", "safe_divide divide_or_none divide", "a: float, b: float -> float",
       "divides $a by $b and returns $dflt when $b is zero | returns $a divided by $b, or $dflt if $b is 0",
       "返回 $a 除以 $b 的结果，$b 为零时返回 $dflt | 计算 $a 除以 $b，除数为 0 则返回 $dflt",
       "if $b == 0:\n    return $dflt\nreturn $a / $b", "(6, 3) == 2\n(1, 0) == $dflt", vary=dict(dflt=["None", "0", "-1", "1"]))
family("celsius", "celsius_to_fahrenheit c_to_f to_fahrenheit", "c: float -> float",
       "converts $c degrees Celsius to Fahrenheit | returns the Fahrenheit temperature of $c Celsius",
       "将摄氏温度 $c 转换为华氏温度 | 返回 $c 摄氏度对应的华氏度",
       "return $c * 9 / 5 + 32", "(100) == 212\n(0) == 32", topic=("Celsius to Fahrenheit", "摄氏转华氏"))
family("fahrenheit", "fahrenheit_to_celsius f_to_c to_celsius", "t: float -> float",
       "converts $t degrees Fahrenheit to Celsius | returns the Celsius temperature of $t Fahrenheit",
       "将华氏温度 $t 转换为摄氏温度 | 返回 $t 华氏度对应的摄氏度",
       "return ($t - 32) * 5 / 9", "(212) == 100\n(32) == 0", topic=("Fahrenheit to Celsius", "华氏转摄氏"))
family("circle_area", "circle_area area_of_circle disc_area", "r: float -> float",
       "returns the area of a circle with radius $r | computes the area of the circle of radius $r",
       "返回半径为 $r 的圆的面积 | 计算半径 $r 的圆面积",
       "return math.pi * $r ** 2", "(0) == 0\n(1) == __import__('math').pi", imports="import math")
family("rect_area", "rect_area rectangle_area area", "width: float, height: float -> float",
       "returns the area of a rectangle with $width and $height | computes the area of the rectangle $width by $height",
       "返回宽 $width 高 $height 的矩形面积 | 计算长方形的面积，宽为 $width，高为 $height",
       "return $width * $height", "(2, 3) == 6\n(0, 5) == 0")
family("distance", "distance point_distance euclidean", "x1: float, y1: float, x2: float, y2: float -> float",
       "returns the distance between the points ($x1, $y1) and ($x2, $y2) | computes the Euclidean distance from ($x1, $y1) to ($x2, $y2)",
       "返回点 ($x1, $y1) 与 ($x2, $y2) 之间的距离 | 计算 ($x1, $y1) 到 ($x2, $y2) 的欧氏距离",
       "return math.sqrt(($x2 - $x1) ** 2 + ($y2 - $y1) ** 2)", "(0, 0, 3, 4) == 5\n(1, 1, 1, 1) == 0", imports="import math")
family("hypotenuse", "hypotenuse hypot long_side", "a: float, b: float -> float",
       "returns the hypotenuse of a right triangle with legs $a and $b | computes the hypotenuse from the legs $a and $b",
       "返回直角边为 $a 和 $b 的三角形的斜边 | 由直角边 $a 与 $b 计算斜边长",
       "return math.sqrt($a ** 2 + $b ** 2)", "(3, 4) == 5\n(0, 2) == 2", imports="import math")
family("is_triangle", "is_triangle valid_triangle can_form_triangle", "a: float, b: float, c: float -> bool",
       "checks whether $a, $b and $c can be the sides of a triangle | tells whether a triangle with sides $a, $b and $c exists",
       "判断 $a、$b、$c 能否构成三角形 | 检查边长 $a、$b、$c 是否能组成三角形",
       "return $a + $b > $c and $a + $c > $b and $b + $c > $a", "(3, 4, 5) == True\n(1, 1, 3) == False")
family("bmi", "bmi body_mass calc_bmi", "weight: float, height: float -> float",
       "returns the body mass index for $weight and $height rounded to $k digits | computes the BMI from $weight and $height, rounded to $k decimals",
       "根据 $weight 和 $height 返回 BMI，保留 $k 位小数 | 由体重 $weight 与身高 $height 计算 BMI，四舍五入到 $k 位",
       "return round($weight / $height ** 2, $k)", "(80, 2) == 20\n(50, 1.6) == round(50 / 1.6 ** 2, $k)", vary=dict(k=range(1, 6)))
family("percentage", "percentage percent_of ratio_percent", "part: float, whole: float -> float",
       "returns what percentage $part is of $whole | computes $part as a percentage of $whole",
       "返回 $part 占 $whole 的百分比 | 计算 $part 是 $whole 的百分之几",
       "return $part / $whole * 100", "(1, 4) == 25\n(0, 5) == 0")
family("discount", "apply_discount discounted sale_price", "price: float -> float",
       "returns $price after a discount of $k percent | takes $k percent off $price",
       "返回 $price 打折 $k% 后的价格 | 将 $price 减去 $k% 后返回",
       "return $price * (100 - $k) / 100", "(100) == 100 - $k\n(0) == 0", vary=dict(k=range(1, 100)))
family("compound", "compound_interest invest grow", "principal: float, rate: float, years: int -> float",
       "returns the value of $principal after $years years of compound interest at $rate | computes compound interest: $principal at $rate for $years years",
       "返回 $principal 以 $rate 复利 $years 年后的金额 | 计算本金 $principal、利率 $rate、年数 $years 的复利终值",
       "return $principal * (1 + $rate) ** $years", "(100, 1, 2) == 400\n(100, 0, 5) == 100", topic=("compound interest", "复利计算"))
family("fizzbuzz", "fizzbuzz fizz_buzz play_fizzbuzz", "n: int -> list[str]",
       "returns the list of 1 to $n with multiples of $p as '$wa', of $q as '$wb' and of both as '$wa$wb' | plays FizzBuzz from 1 to $n: '$wa' for $p, '$wb' for $q, '$wa$wb' for both",
       "返回 1 到 $n 的列表，$p 的倍数为 '$wa'，$q 的倍数为 '$wb'，都是则为 '$wa$wb' | 从 1 数到 $n：$p 的倍数换成 '$wa'，$q 的倍数换成 '$wb'，公倍数换成 '$wa$wb'",
       """
result = []
for i in range(1, $n + 1):
    word = ''
    if i % $p == 0:
        word += '$wa'
    if i % $q == 0:
        word += '$wb'
    result.append(word or str(i))
return result
""", "(2)[0] == '1'\n($p)[-1] == '$wa'\n($p * $q)[-1] == '$wa$wb'", vary=dict(p=[3, 2], q=[5, 7, 11, 13], wa="Fizz Foo Ping Tick Hip".split(), wb="Buzz Bar Pong Tock Hop".split()))
family("fizzbuzz_one", "fizzbuzz_value fizz_one fizz", "n: int -> str",
       "returns 'FizzBuzz' if $n is divisible by 3 and 5, 'Fizz' by 3, 'Buzz' by 5, else $n as a string | tells the FizzBuzz word of $n",
       "$n 能被 3 和 5 整除返回 'FizzBuzz'，被 3 整除返回 'Fizz'，被 5 整除返回 'Buzz'，否则返回 $n 的字符串 | 返回 $n 对应的 FizzBuzz 单词",
       "if $n % 15 == 0:\n    return 'FizzBuzz'\nif $n % 3 == 0:\n    return 'Fizz'\nif $n % 5 == 0:\n    return 'Buzz'\nreturn str($n)", "(15) == 'FizzBuzz'\n(3) == 'Fizz'\n(10) == 'Buzz'\n(7) == '7'", topic=("FizzBuzz", "FizzBuzz"))
family("hanoi", "hanoi hanoi_moves tower_of_hanoi", "n: int -> int",
       "returns the number of moves of the Tower of Hanoi with $n disks | computes recursively how many moves $n disks of Hanoi need",
       "返回 $n 个盘子的汉诺塔所需的移动次数 | 递归计算 $n 层汉诺塔的步数",
       "if $n == 0:\n    return 0\nreturn 2 * $f($n - 1) + 1", "(3) == 7\n(0) == 0", topic=("the Tower of Hanoi", "汉诺塔"))
family("climb_stairs", "climb_stairs stair_ways count_ways", "n: int -> int",
       "returns in how many ways $n stairs can be climbed with steps of 1 or 2 | counts the ways to climb $n stairs, 1 or 2 at a time",
       "返回每次走 1 或 2 级爬 $n 级楼梯的方法数 | 计算爬 $n 阶楼梯的走法，每次一阶或两阶",
       "a, b = 1, 1\nfor _ in range($n):\n    a, b = b, a + b\nreturn a", "(3) == 3\n(1) == 1\n(4) == 5", topic=("climbing stairs", "爬楼梯"))
family("combinations_count", "choose n_choose_k binomial", "n: int, k: int -> int",
       "returns the number of ways to choose $k items from $n | computes the binomial coefficient of $n over $k",
       "返回从 $n 个中选 $k 个的组合数 | 计算二项式系数 C($n, $k)",
       "result = 1\nfor i in range($k):\n    result = result * ($n - i) // (i + 1)\nreturn result", "(5, 2) == 10\n(4, 0) == 1", topic=("the binomial coefficient", "组合数"))
family("permutations", "permutations all_orders permute", "items: list -> list[list]",
       "returns all permutations of $items | makes a list of every ordering of $items by recursion",
       "返回 $items 的所有排列 | 递归生成列表 $items 的全排列",
       """
if len($items) <= 1:
    return [$items]
result = []
for i in range(len($items)):
    rest = $items[:i] + $items[i + 1:]
    for tail in $f(rest):
        result.append([$items[i]] + tail)
return result
""", "([1, 2]) == [[1, 2], [2, 1]]\n([]) == [[]]", topic=("permutations", "全排列"))
family("subsets", "subsets power_set all_subsets", "items: list -> list[list]",
       "returns all subsets of $items | makes the power set of $items as a list of lists",
       "返回 $items 的所有子集 | 生成列表 $items 的幂集",
       "result = [[]]\nfor x in $items:\n    result += [s + [x] for s in result]\nreturn result", "([1, 2]) == [[], [1], [2], [1, 2]]\n([]) == [[]]", topic=("all subsets", "所有子集"))
family("sum_rec", "sum_recursive rec_sum sum_rec", "nums: list[int] -> int",
       "returns the sum of $nums recursively | adds up the numbers in $nums by recursion",
       "用递归返回 $nums 的和 | 递归计算列表 $nums 的总和",
       "if not $nums:\n    return 0\nreturn $nums[0] + $f($nums[1:])", "([1, 2, 3]) == 6\n([]) == 0")
family("roman_to_int", "roman_to_int parse_roman from_roman", "text: str -> int",
       "converts the Roman numeral $text to an integer | returns the integer value of the Roman numeral $text",
       "将罗马数字 $text 转换为整数 | 返回罗马数字 $text 的整数值",
       """
values = {'I': 1, 'V': 5, 'X': 10, 'L': 50, 'C': 100, 'D': 500, 'M': 1000}
total = 0
for i, c in enumerate($text):
    value = values[c]
    if i + 1 < len($text) and values[$text[i + 1]] > value:
        total -= value
    else:
        total += value
return total
""", "('MCMXCIV') == 1994\n('III') == 3", topic=("Roman numeral to integer", "罗马数字转整数"))
family("int_to_roman", "int_to_roman to_roman roman", "n: int -> str",
       "converts the integer $n to a Roman numeral | returns $n written as a Roman numeral",
       "将整数 $n 转换为罗马数字 | 返回 $n 的罗马数字写法",
       """
values = [1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1]
symbols = ['M', 'CM', 'D', 'CD', 'C', 'XC', 'L', 'XL', 'X', 'IX', 'V', 'IV', 'I']
result = ''
for value, symbol in zip(values, symbols):
    result += symbol * ($n // value)
    $n %= value
return result
""", "(1994) == 'MCMXCIV'\n(3) == 'III'", topic=("integer to Roman numeral", "整数转罗马数字"))
family("grade", "grade letter_grade get_grade", "score: int -> str",
       "returns 'A' for $score from $ga, 'B' from $gb, 'C' from $gc and 'D' below | grades $score: 'A' from $ga, 'B' from $gb, 'C' from $gc, else 'D'",
       "$score 不低于 $ga 返回 'A'，不低于 $gb 返回 'B'，不低于 $gc 返回 'C'，否则返回 'D' | 给 $score 评级：$ga 以上 'A'，$gb 以上 'B'，$gc 以上 'C'，其余 'D'",
       "if $score >= $ga:\n    return 'A'\nif $score >= $gb:\n    return 'B'\nif $score >= $gc:\n    return 'C'\nreturn 'D'", "($ga) == 'A'\n($gb) == 'B'\n($gc) == 'C'\n(0) == 'D'", vary=dict(ga=range(85, 98), gb=range(70, 84), gc=range(50, 69)))
family("multiplication_table", "times_table multiplication_table table_of", "n: int -> list[int]",
       "returns the first $k multiples of $n | makes a list of $n times 1 to $n times $k",
       "返回 $n 的前 $k 个倍数 | 生成 $n 乘以 1 到 $k 的列表",
       "return [$n * i for i in range(1, $k + 1)]", "(3) == [3 * i for i in range(1, $k + 1)]", vary=dict(k=range(3, 60)))
family("round_to", "round_to round_digits round_value", "value: float -> float",
       "rounds $value to $k decimal places | returns $value rounded to $k digits after the point",
       "将 $value 四舍五入到 $k 位小数 | 返回保留 $k 位小数的 $value",
       "return round($value, $k)", "(3.14159265) == round(3.14159265, $k)\n(2.0) == 2.0", vary=dict(k=range(1, 10)))
family("newton_sqrt", "newton_sqrt my_sqrt approx_sqrt", "n: float -> float",
       "computes the square root of $n with Newton's method | returns the square root of $n by Newton iteration",
       "用牛顿法计算 $n 的平方根 | 使用牛顿迭代求 $n 的平方根",
       "x = $n\nfor _ in range(50):\n    x = (x + $n / x) / 2\nreturn x", "(16.0) == 4.0\n(1.0) == 1.0", topic=("Newton's square root", "牛顿法求平方根"))
