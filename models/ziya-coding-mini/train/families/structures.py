"""Dictionaries, sets, matrices, classes, parsing, validation and dates."""
from .base import class_family, family

family("merge_dicts", "merge_dicts combine_dicts join_dicts", "a: dict, b: dict -> dict",
       "merges the dictionaries $a and $b, where $b wins | returns one dictionary with the items of $a and $b, $b taking precedence",
       "合并字典 $a 和 $b，冲突时以 $b 为准 | 返回包含 $a 与 $b 的新字典，$b 优先",
       "return {**$a, **$b}", "({'x': 1}, {'x': 2, 'y': 3}) == {'x': 2, 'y': 3}\n({}, {}) == {}", topic=("dictionary merging", "合并字典"))
family("invert_dict", "invert_dict swap_keys flip_dict", "d: dict -> dict",
       "swaps the keys and values of $d | returns the dictionary $d with keys and values exchanged",
       "交换字典 $d 的键和值 | 返回键值互换后的 $d",
       "return {value: key for key, value in $d.items()}", "({'a': 1}) == {1: 'a'}\n({}) == {}")
family("max_key", "key_of_max best_key max_key", "d: dict -> str",
       "returns the key with the largest value in $d | finds the key of $d whose value is the maximum",
       "返回字典 $d 中值最大的键 | 找出 $d 里值最大的那个键",
       "return max($d, key=$d.get)", "({'a': 1, 'b': 3}) == 'b'\n({'x': 0}) == 'x'")
family("sum_values", "sum_values total_values add_values", "d: dict -> int",
       "returns the sum of the values of $d | adds up all values in the dictionary $d",
       "返回字典 $d 中所有值的和 | 计算 $d 的值的总和",
       "return sum($d.values())", "({'a': 1, 'b': 3}) == 4\n({}) == 0")
family("filter_dict", "filter_dict keep_items select_items", "d: dict -> dict",
       "returns the items of $d whose value is greater than $k | keeps only entries of $d with a value above $k",
       "返回字典 $d 中值大于 $k 的项 | 只保留 $d 里值大于 $k 的键值对",
       "return {key: value for key, value in $d.items() if value > $k}", "({'a': $k, 'b': $k + 1}) == {'b': $k + 1}\n({}) == {}", vary=dict(k=range(0, 100)))
family("sort_dict", "sort_dict_by_value rank_dict sort_items", "d: dict -> list[tuple]",
       "returns the items of $d sorted by value in $ord_en order | sorts the items of the dictionary $d by value, $ord_en",
       "返回字典 $d 按值$ord_zh排列的项 | 将 $d 的键值对按值$ord_zh排序",
       "return sorted($d.items(), key=lambda kv: kv[1], reverse=$rev)", "({'a': 2, 'b': 1}) == sorted({'a': 2, 'b': 1}.items(), key=lambda p: p[1], reverse=$rev)\n({}) == []",
       vary=dict(order=[dict(ord_en="ascending", ord_zh="升序", rev="False"), dict(ord_en="descending", ord_zh="降序", rev="True")]))
family("group_by_length", "group_by_length words_by_length length_groups", "words: list[str] -> dict",
       "groups the strings in $words by their length in a dictionary | returns a dictionary from length to the strings of $words with that length",
       "按长度将 $words 中的字符串分组为字典 | 返回以长度为键、$words 中对应字符串列表为值的字典",
       "groups = {}\nfor word in $words:\n    groups.setdefault(len(word), []).append(word)\nreturn groups", "(['a', 'bb', 'c']) == {1: ['a', 'c'], 2: ['bb']}\n([]) == {}")
family("group_by_first", "group_by_first by_initial index_words", "words: list[str] -> dict",
       "groups the strings in $words by their first letter in a dictionary | returns a dictionary from first letter to the strings of $words",
       "按首字母将 $words 中的字符串分组为字典 | 返回以首字母为键、$words 中对应字符串列表为值的字典",
       "groups = {}\nfor word in $words:\n    groups.setdefault(word[0], []).append(word)\nreturn groups", "(['ab', 'b', 'ac']) == {'a': ['ab', 'ac'], 'b': ['b']}\n([]) == {}")
family("group_by_field", "group_by_$key by_$key group_records", "records: list[dict] -> dict",
       "groups the dictionaries in $records by the key '$key' | returns a dictionary from each '$key' to its records in $records",
       "按键 '$key' 将 $records 中的字典分组 | 返回以 '$key' 的值为键、对应记录列表为值的字典，数据来自 $records",
       "groups = {}\nfor r in $records:\n    groups.setdefault(r['$key'], []).append(r)\nreturn groups", "([{'$key': 1}, {'$key': 2}]) == {1: [{'$key': 1}], 2: [{'$key': 2}]}\n([]) == {}",
       vary=dict(key="age name type city group team color kind level year".split()))
family("pluck", "pluck_$key get_${key}s all_${key}s", "records: list[dict] -> list",
       "returns the list of '$key' values of the dictionaries in $records | collects the value of '$key' from each dictionary in $records",
       "返回 $records 中各字典的 '$key' 值列表 | 从 $records 的每个字典里取出 '$key' 的值",
       "return [r['$key'] for r in $records]", "([{'$key': 1}, {'$key': 2}]) == [1, 2]\n([]) == []", vary=dict(key="age name type city price team color score size date title email".split()))
family("count_items", "count_items frequency tally", "items: list -> dict",
       "returns a dictionary that counts each element of $items | counts how often each element occurs in $items, as a dictionary",
       "返回统计 $items 中每个元素出现次数的字典 | 用字典统计列表 $items 里各元素的次数",
       "counts = {}\nfor x in $items:\n    counts[x] = counts.get(x, 0) + 1\nreturn counts", "([1, 1, 2]) == {1: 2, 2: 1}\n([]) == {}")
family("list_to_dict", "lists_to_dict make_dict zip_dict", "keys: list, values: list -> dict",
       "makes a dictionary from the lists $keys and $values | returns a dictionary that maps each of $keys to the item of $values at the same place",
       "由列表 $keys 和 $values 构造字典 | 返回以 $keys 为键、$values 为值的字典",
       "return dict(zip($keys, $values))", "(['a', 'b'], [1, 2]) == {'a': 1, 'b': 2}\n([], []) == {}")
family("squares_dict", "squares_dict square_map make_squares", "n: int -> dict",
       "returns a dictionary from each integer 1 to $n to its $pow_en | maps the numbers 1 to $n to their $pow_en in a dictionary",
       "返回 1 到 $n 的每个整数到其$pow_zh的字典 | 用字典把 1 到 $n 映射到它们的$pow_zh",
       "return {i: i ** $p for i in range(1, $n + 1)}", "(2) == {1: 1, 2: 2 ** $p}\n(0) == {}",
       vary=dict(p=[dict(pow_en="square", pow_zh="平方", p="2"), dict(pow_en="cube", pow_zh="立方", p="3")]))
family("get_nested", "get_nested deep_get lookup_path", "d: dict, keys: list -> object",
       "follows the list $keys through the nested dictionary $d and returns the value or None | looks up the path $keys in the nested dictionary $d, None if missing",
       "沿 $keys 在嵌套字典 $d 中取值，找不到返回 None | 在嵌套字典 $d 里按路径 $keys 查找值，缺失时返回 None",
       "for key in $keys:\n    if key not in $d:\n        return None\n    $d = $d[key]\nreturn $d", "({'a': {'b': 1}}, ['a', 'b']) == 1\n({}, ['x']) == None")
family("transpose", "transpose transpose_matrix flip_matrix", "matrix: list[list[int]] -> list[list[int]]",
       "returns the transpose of $matrix | swaps the rows and columns of $matrix",
       "返回矩阵 $matrix 的转置 | 交换 $matrix 的行和列",
       "return [list(row) for row in zip(*$matrix)]", "([[1, 2], [3, 4]]) == [[1, 3], [2, 4]]\n([]) == []", topic=("matrix transposition", "矩阵转置"))
family("matrix_add", "matrix_add add_matrices sum_matrices", "a: list[list[int]], b: list[list[int]] -> list[list[int]]",
       "adds the matrices $a and $b | returns the element-wise sum of the matrices $a and $b",
       "将矩阵 $a 和 $b 相加 | 返回矩阵 $a 与 $b 对应元素之和",
       "return [[x + y for x, y in zip(r, s)] for r, s in zip($a, $b)]", "([[1, 2]], [[3, 4]]) == [[4, 6]]", topic=("matrix addition", "矩阵加法"))
family("matrix_mul", "matrix_multiply mat_mul multiply_matrices", "a: list[list[int]], b: list[list[int]] -> list[list[int]]",
       "multiplies the matrices $a and $b | returns the matrix product of $a and $b",
       "将矩阵 $a 和 $b 相乘 | 返回矩阵 $a 与 $b 的乘积",
       "return [[sum(x * y for x, y in zip(row, col)) for col in zip(*$b)] for row in $a]", "([[1, 2], [3, 4]], [[1, 0], [0, 1]]) == [[1, 2], [3, 4]]\n([[1, 2]], [[3], [4]]) == [[11]]", topic=("matrix multiplication", "矩阵乘法"))
family("identity_matrix", "identity identity_matrix eye", "n: int -> list[list[int]]",
       "returns the identity matrix of size $n | makes an $n by $n identity matrix",
       "返回 $n 阶单位矩阵 | 生成 $n 乘 $n 的单位矩阵",
       "return [[1 if i == j else 0 for j in range($n)] for i in range($n)]", "(2) == [[1, 0], [0, 1]]\n(0) == []", topic=("the identity matrix", "单位矩阵"))
family("make_grid", "make_grid create_matrix empty_grid", "rows: int, cols: int -> list[list[int]]",
       "makes a matrix with $rows rows and $cols columns filled with $k | returns a list of $rows lists, each holding $cols times $k",
       "生成 $rows 行 $cols 列且全为 $k 的矩阵 | 返回 $rows 个列表，每个包含 $cols 个 $k",
       "return [[$k] * $cols for _ in range($rows)]", "(2, 3) == [[$k, $k, $k], [$k, $k, $k]]\n(0, 1) == []", vary=dict(k=range(0, 30)))
family("diagonal_sum", "diagonal_sum trace sum_diagonal", "matrix: list[list[int]] -> int",
       "returns the sum of the main diagonal of $matrix | adds up the diagonal of the square matrix $matrix",
       "返回 $matrix 主对角线的和 | 计算方阵 $matrix 的对角线元素之和",
       "return sum($matrix[i][i] for i in range(len($matrix)))", "([[1, 2], [3, 4]]) == 5\n([]) == 0")
family("row_sums", "row_sums sum_rows row_totals", "matrix: list[list[int]] -> list[int]",
       "returns the sum of each row of $matrix | computes a list with the row sums of $matrix",
       "返回 $matrix 每一行的和 | 计算矩阵 $matrix 各行之和的列表",
       "return [sum(row) for row in $matrix]", "([[1, 2], [3, 4]]) == [3, 7]\n([]) == []")
family("col_sums", "col_sums sum_columns column_totals", "matrix: list[list[int]] -> list[int]",
       "returns the sum of each column of $matrix | computes a list with the column sums of $matrix",
       "返回 $matrix 每一列的和 | 计算矩阵 $matrix 各列之和的列表",
       "return [sum(col) for col in zip(*$matrix)]", "([[1, 2], [3, 4]]) == [4, 6]\n([]) == []")
family("matrix_max", "matrix_max grid_max max_in_matrix", "matrix: list[list[int]] -> int",
       "returns the $ext_en number in $matrix | finds the $ext_en value of the matrix $matrix",
       "返回 $matrix 中$ext_zh的数 | 求矩阵 $matrix 的$ext_zh值",
       "return $ext($ext(row) for row in $matrix)", "([[1, 2], [3, 0]]) == $ext(1, 2, 3, 0)\n([[5]]) == 5",
       vary=dict(ext=[dict(ext="max", ext_en="largest", ext_zh="最大"), dict(ext="min", ext_en="smallest", ext_zh="最小")]))
family("rotate_matrix", "rotate_matrix rotate_90 turn_matrix", "matrix: list[list[int]] -> list[list[int]]",
       "rotates $matrix by 90 degrees clockwise | returns $matrix turned 90 degrees to the right",
       "将 $matrix 顺时针旋转 90 度 | 返回矩阵 $matrix 右转 90 度的结果",
       "return [list(row) for row in zip(*$matrix[::-1])]", "([[1, 2], [3, 4]]) == [[3, 1], [4, 2]]\n([]) == []", topic=("matrix rotation", "矩阵旋转"))
family("spiral", "spiral_order spiral walk_spiral", "matrix: list[list[int]] -> list[int]",
       "returns the elements of $matrix in spiral order | walks through $matrix in a clockwise spiral and lists its elements",
       "按螺旋顺序返回 $matrix 的元素 | 顺时针螺旋遍历矩阵 $matrix 并列出元素",
       "result = []\nwhile $matrix:\n    result += $matrix[0]\n    $matrix = [list(row) for row in zip(*$matrix[1:])][::-1]\nreturn result", "([[1, 2], [4, 3]]) == [1, 2, 3, 4]\n([]) == []", topic=("spiral matrix traversal", "螺旋遍历矩阵"))
family("pascal", "pascal_triangle pascal pascal_rows", "n: int -> list[list[int]]",
       "returns the first $n rows of Pascal's triangle | makes Pascal's triangle with $n rows",
       "返回杨辉三角的前 $n 行 | 生成 $n 行的杨辉三角",
       "rows = []\nfor i in range($n):\n    row = [1] * (i + 1)\n    for j in range(1, i):\n        row[j] = rows[-1][j - 1] + rows[-1][j]\n    rows.append(row)\nreturn rows", "(3) == [[1], [1, 1], [1, 2, 1]]\n(0) == []", topic=("Pascal's triangle", "杨辉三角"))
family("dot_product", "dot_product dot inner_product", "a: list[int], b: list[int] -> int",
       "returns the dot product of $a and $b | computes the inner product of the vectors $a and $b",
       "返回 $a 和 $b 的点积 | 计算向量 $a 与 $b 的内积",
       "return sum(x * y for x, y in zip($a, $b))", "([1, 2], [3, 4]) == 11\n([], []) == 0", topic=("the dot product", "向量点积"))
family("dfs", "dfs depth_first visit_deep", "graph: dict, start: str -> list[str]",
       "returns the nodes of $graph in depth-first order from $start | walks the graph $graph depth-first beginning at $start",
       "从 $start 开始深度优先遍历 $graph 并返回节点顺序 | 对图 $graph 从 $start 做深度优先搜索",
       """
seen = []
stack = [$start]
while stack:
    node = stack.pop()
    if node not in seen:
        seen.append(node)
        stack.extend(reversed($graph[node]))
return seen
""", "({'a': ['b', 'c'], 'b': ['d'], 'c': [], 'd': []}, 'a') == ['a', 'b', 'd', 'c']", topic=("depth-first search", "深度优先搜索"))
family("bfs", "bfs breadth_first visit_wide", "graph: dict, start: str -> list[str]",
       "returns the nodes of $graph in breadth-first order from $start | walks the graph $graph breadth-first beginning at $start",
       "从 $start 开始广度优先遍历 $graph 并返回节点顺序 | 对图 $graph 从 $start 做广度优先搜索",
       """
seen = [$start]
for node in seen:
    for other in $graph[node]:
        if other not in seen:
            seen.append(other)
return seen
""", "({'a': ['b', 'c'], 'b': ['d'], 'c': [], 'd': []}, 'a') == ['a', 'b', 'c', 'd']", topic=("breadth-first search", "广度优先搜索"))
family("coin_change", "coin_change min_coins fewest_coins", "coins: list[int], amount: int -> int",
       "returns the fewest coins from $coins that make $amount, or -1 | computes the minimum number of $coins that add up to $amount, -1 if impossible",
       "返回用 $coins 凑成 $amount 所需的最少硬币数，无法凑成返回 -1 | 用动态规划求 $coins 组成 $amount 的最少硬币数，不行则返回 -1",
       """
best = [0] + [float('inf')] * $amount
for total in range(1, $amount + 1):
    for coin in $coins:
        if coin <= total:
            best[total] = min(best[total], best[total - coin] + 1)
return best[$amount] if best[$amount] != float('inf') else -1
""", "([1, 2, 5], 11) == 3\n([2], 3) == -1\n([1], 0) == 0", topic=("coin change", "零钱兑换"))
family("lis", "lis_length longest_increasing lis", "nums: list[int] -> int",
       "returns the length of the longest increasing subsequence of $nums | computes how long the longest increasing subsequence of $nums is",
       "返回 $nums 的最长递增子序列长度 | 计算列表 $nums 的最长上升子序列有多长",
       "best = [1] * len($nums)\nfor i in range(len($nums)):\n    for j in range(i):\n        if $nums[j] < $nums[i]:\n            best[i] = max(best[i], best[j] + 1)\nreturn max(best, default=0)", "([10, 9, 2, 5, 3, 7]) == 3\n([]) == 0", topic=("the longest increasing subsequence", "最长递增子序列"))
family("max_profit", "max_profit best_trade stock_profit", "prices: list[int] -> int",
       "returns the largest profit from buying and selling once in $prices | computes the best profit of one trade over $prices",
       "返回在 $prices 中买卖一次的最大利润 | 计算 $prices 里一次交易的最大收益",
       "low = $prices[0]\nbest = 0\nfor price in $prices:\n    low = min(low, price)\n    best = max(best, price - low)\nreturn best", "([7, 1, 5, 3, 6]) == 5\n([3, 2, 1]) == 0", topic=("the best stock trade", "买卖股票的最佳时机"))
family("parse_csv_line", "parse_line parse_csv_line split_fields", "line: str -> list[str]",
       "splits the line $line at '$sep' and strips each field | parses $line into a list of fields separated by '$sep' without outer spaces",
       "以 '$sep' 分割 $line 并去除每个字段的空格 | 将一行文本 $line 按 '$sep' 解析为去掉首尾空格的字段列表",
       "return [part.strip() for part in $line.split('$sep')]", "('a $sep b') == ['a', 'b']", vary=dict(sep="; | : # / & @ + * ~".split()))
family("parse_pairs", "parse_pairs parse_config parse_options", "text: str -> dict",
       "parses the lines 'key${sep}value' of $text into a dictionary | reads $text, where each line is 'key${sep}value', into a dictionary",
       "将 $text 中形如 'key${sep}value' 的行解析为字典 | 读取 $text，每行是 'key${sep}value'，返回字典",
       "result = {}\nfor line in $text.splitlines():\n    if '$sep' in line:\n        key, value = line.split('$sep', 1)\n        result[key.strip()] = value.strip()\nreturn result", "('a${sep}1\\nb ${sep} 2') == {'a': '1', 'b': '2'}\n('') == {}", vary=dict(sep=["=", ":", "|", "~", "->", ";"]), topic=())
family("parse_query", "parse_query query_to_dict read_query", "text: str -> dict",
       "parses the query string $text like 'a=1&b=2' into a dictionary | turns a URL query string $text into a dictionary",
       "将形如 'a=1&b=2' 的查询字符串 $text 解析为字典 | 把 URL 查询串 $text 转换为字典",
       "result = {}\nfor pair in $text.split('&'):\n    if pair:\n        key, value = pair.split('=')\n        result[key] = value\nreturn result", "('a=1&b=2') == {'a': '1', 'b': '2'}\n('') == {}")
family("count_lines", "count_lines line_count non_empty_lines", "text: str -> int",
       "counts the non-empty lines of $text | returns how many lines of $text are not blank",
       "统计 $text 中非空行的数量 | 返回文本 $text 里有多少行不是空白",
       "return sum(1 for line in $text.splitlines() if line.strip())", "('a\\n\\nb') == 2\n('') == 0")
family("grep", "grep_lines find_lines lines_with", "text: str -> list[str]",
       "returns the lines of $text that contain '$word' | keeps only lines of $text with '$word' in them",
       "返回 $text 中包含 '$word' 的行 | 只保留文本 $text 里含有 '$word' 的行",
       "return [line for line in $text.splitlines() if '$word' in line]", "('x $word\\ny') == ['x $word']\n('') == []", vary=dict(word="ERROR WARN INFO DEBUG TODO FIXME error fail import def http ok key".split()))
family("number_lines", "number_lines add_line_numbers numbered", "text: str -> str",
       "adds line numbers like '1$sep' before each line of $text | numbers the lines of $text, starting at 1, as in '1${sep}line'",
       "在 $text 的每一行前加上形如 '1$sep' 的行号 | 给 $text 的每行编号，从 1 开始，形如 '1${sep}line'",
       "lines = $text.splitlines()\nreturn '\\n'.join(f'{i}$sep{line}' for i, line in enumerate(lines, 1))", "('a\\nb') == '1${sep}a\\n2${sep}b'\n('') == ''", vary=dict(sep=[": ", ". ", ") ", "- ", "| ", "# "]))
family("read_json", "parse_json load_json_text read_json", "text: str -> object",
       "parses the JSON string $text and returns None if it is invalid | reads JSON from $text, or returns None on an error",
       "解析 JSON 字符串 $text，无效时返回 None | 从 $text 读取 JSON，出错则返回 None",
       "try:\n    return json.loads($text)\nexcept ValueError:\n    return None", "('[1, 2]') == [1, 2]\n('{') == None", imports="import json")
family("read_file", "read_lines load_lines file_lines", "path: str -> list[str]",
       "reads the file $path and returns its lines without newlines | returns the lines of the file at $path as a list",
       "读取文件 $path 并返回不含换行符的行列表 | 以列表返回路径 $path 处文件的所有行",
       "with open($path, encoding='utf-8') as file:\n    return file.read().splitlines()", "(__import__('os').devnull) == []")
family("file_extension", "file_extension get_extension ext_of", "path: str -> str",
       "returns the extension of the file name $path in lower case, without the dot | finds the lower case file extension of $path",
       "返回文件名 $path 的小写扩展名，不含点 | 取文件路径 $path 的小写扩展名",
       "if '.' not in $path:\n    return ''\nreturn $path.rsplit('.', 1)[1].lower()", "('a/b.TXT') == 'txt'\n('abc') == ''")
family("int_or_default", "to_int parse_int int_or_$dflt", "text: str -> int",
       "converts $text to an integer and returns $dflt if that fails | returns $text as an integer, or $dflt when it is not a number",
       "将 $text 转换为整数，失败时返回 $dflt | 返回 $text 的整数值，不是数字则返回 $dflt",
       "try:\n    return int($text)\nexcept ValueError:\n    return $dflt", "('12') == 12\n('x') == $dflt", vary=dict(dflt=["None", *range(0, 40)]))
family("is_number", "is_number check_number numeric", "text: str -> bool",
       "checks whether $text can be converted to a float | tells whether the string $text is a number",
       "判断 $text 能否转换为浮点数 | 检查字符串 $text 是否是数字",
       "try:\n    float($text)\n    return True\nexcept ValueError:\n    return False", "('1.5') == True\n('x') == False")
family("is_email", "is_email valid_email check_email", "text: str -> bool",
       "checks whether $text is a valid email address with a regular expression | tells whether $text looks like an email address",
       "用正则表达式判断 $text 是否为有效的邮箱地址 | 检查 $text 是否像邮箱地址",
       "return re.fullmatch(r'[\\w.+-]+@[\\w-]+\\.[\\w.]+', $text) is not None", "('a@b.com') == True\n('ab.com') == False", imports="import re", topic=("email validation", "邮箱验证"))
family("is_phone", "is_phone valid_phone check_phone", "text: str -> bool",
       "checks whether $text is a phone number of exactly $k digits | tells whether $text consists of $k digits, as a phone number does",
       "判断 $text 是否为恰好 $k 位数字的电话号码 | 检查 $text 是否由 $k 位数字组成的号码",
       "return len($text) == $k and $text.isdigit()", "('1' * $k) == True\n('x') == False", vary=dict(k=range(6, 16)))
family("strong_password", "is_strong check_password valid_password", "text: str -> bool",
       "checks whether the password $text has at least $k characters, a digit and an upper case letter | tells whether $text is a password with $k or more characters, an upper case letter and a digit",
       "判断密码 $text 是否至少 $k 个字符且含数字和大写字母 | 检查 $text 是否为不少于 $k 个字符、包含大写字母和数字的密码",
       "if len($text) < $k:\n    return False\nreturn any(c.isdigit() for c in $text) and any(c.isupper() for c in $text)", "('A1' + 'a' * $k) == True\n('a' * $k) == False\n('A1') == False", vary=dict(k=range(6, 21)))
family("valid_ip", "is_ipv4 valid_ip check_ip", "text: str -> bool",
       "checks whether $text is a valid IPv4 address | tells whether the string $text is an IPv4 address",
       "判断 $text 是否为有效的 IPv4 地址 | 检查字符串 $text 是不是 IPv4 地址",
       "parts = $text.split('.')\nreturn len(parts) == 4 and all(p.isdigit() and int(p) <= 255 for p in parts)", "('1.2.3.4') == True\n('1.2.3') == False\n('1.2.3.256') == False", topic=("IPv4 validation", "IPv4 地址验证"))
family("valid_range", "in_range is_between check_range", "n: int -> bool",
       "checks whether $n lies between $lo and $hi inclusive | tells whether $lo <= $n <= $hi",
       "判断 $n 是否在 $lo 到 $hi 之间，包含两端 | 检查 $n 是否满足 $lo <= $n <= $hi",
       "return $lo <= $n <= $hi", "($lo) == True\n($hi + 1) == False", vary=dict(lo=range(0, 40), hi=range(50, 200)))
family("luhn", "luhn_check luhn valid_card", "text: str -> bool",
       "checks the card number $text with the Luhn algorithm | tells whether the digits $text pass the Luhn check",
       "用 Luhn 算法校验卡号 $text | 检查数字串 $text 是否通过 Luhn 校验",
       "total = 0\nfor i, d in enumerate(reversed($text)):\n    value = int(d)\n    if i % 2 == 1:\n        value = value * 2 - 9 if value > 4 else value * 2\n    total += value\nreturn total % 10 == 0", "('4539578763621486') == True\n('1234') == False", topic=("the Luhn check", "Luhn 校验"))
family("format_time", "format_time seconds_to_clock clock", "seconds: int -> str",
       "converts $seconds to a string in the form HH:MM:SS | formats $seconds as hours, minutes and seconds, HH:MM:SS",
       "将 $seconds 转换为 HH:MM:SS 格式的字符串 | 把秒数 $seconds 格式化为时分秒 HH:MM:SS",
       "hours, rest = divmod($seconds, 3600)\nminutes, secs = divmod(rest, 60)\nreturn f'{hours:02d}:{minutes:02d}:{secs:02d}'", "(3661) == '01:01:01'\n(0) == '00:00:00'")
family("to_seconds", "to_seconds clock_to_seconds parse_clock", "text: str -> int",
       "converts the time $text in the form HH:MM:SS to seconds | returns the number of seconds in $text, given as HH:MM:SS",
       "将 HH:MM:SS 格式的时间 $text 转换为秒数 | 返回形如 HH:MM:SS 的 $text 的总秒数",
       "hours, minutes, secs = [int(x) for x in $text.split(':')]\nreturn hours * 3600 + minutes * 60 + secs", "('01:01:01') == 3661\n('00:00:00') == 0")
family("days_between", "days_between day_difference date_diff", "a: str, b: str -> int",
       "returns the number of days between the ISO dates $a and $b | computes how many days lie from the date $a to $b, both as YYYY-MM-DD",
       "返回 ISO 日期 $a 和 $b 之间的天数 | 计算从日期 $a 到 $b 的天数，格式均为 YYYY-MM-DD",
       "return abs((date.fromisoformat($b) - date.fromisoformat($a)).days)", "('2024-01-01', '2024-01-31') == 30\n('2024-01-01', '2024-01-01') == 0", imports="from datetime import date")
family("weekday", "weekday_name day_of_week get_weekday", "text: str -> str",
       "returns the English weekday name of the ISO date $text | tells the weekday of the date $text, given as YYYY-MM-DD",
       "返回 ISO 日期 $text 的英文星期名 | 求格式为 YYYY-MM-DD 的日期 $text 是星期几，用英文表示",
       "return date.fromisoformat($text).strftime('%A')", "('2024-01-01') == 'Monday'\n('2000-01-01') == 'Saturday'", imports="from datetime import date")
family("add_days", "add_days shift_date days_later", "text: str -> str",
       "returns the ISO date $k days after $text | adds $k days to the date $text, given as YYYY-MM-DD",
       "返回 ISO 日期 $text 之后 $k 天的日期 | 给格式为 YYYY-MM-DD 的日期 $text 加上 $k 天",
       "return (date.fromisoformat($text) + timedelta(days=$k)).isoformat()", "('2024-01-01') == str(__import__('datetime').date(2024, 1, 1) + __import__('datetime').timedelta($k))", imports="from datetime import date, timedelta", vary=dict(k=range(1, 100)))
family("days_in_month", "days_in_month month_days month_length", "year: int, month: int -> int",
       "returns the number of days in $month of $year | tells how many days the month $month of the year $year has",
       "返回 $year 年 $month 月的天数 | 求年份 $year 中月份 $month 有多少天",
       "return calendar.monthrange($year, $month)[1]", "(2024, 2) == 29\n(2023, 4) == 30", imports="import calendar")
family("compose", "compose chain combine_functions", "f1: object, f2: object -> object",
       "returns a function that applies $f1 and then $f2 | composes $f1 and $f2, where $f1 runs first",
       "返回先应用 $f1 再应用 $f2 的函数 | 组合函数 $f1 和 $f2，先执行 $f1",
       "return lambda x: $f2($f1(x))", "(abs, str)(-1) == '1'")
family("memoize", "memoize cached remember", "func: object -> object",
       "returns a version of $func that remembers results in a dictionary | decorates $func so that results are cached by argument",
       "返回用字典缓存结果的 $func | 实现装饰器，按参数缓存 $func 的结果",
       "cache = {}\n\ndef wrapper(x):\n    if x not in cache:\n        cache[x] = $func(x)\n    return cache[x]\n\nreturn wrapper", "(abs)(-3) == 3", topic=("a memoization decorator", "缓存装饰器"))
family("counter_closure", "make_counter counter_from start_counter", "-> object",
       "returns a function that counts up by one from $k on each call | makes a counter function whose first call returns $k",
       "返回一个每次调用加一、从 $k 开始计数的函数 | 创建计数器函数，第一次调用返回 $k",
       "count = $k - 1\n\ndef step():\n    nonlocal count\n    count += 1\n    return count\n\nreturn step", "()() == $k", vary=dict(k=range(1, 60)))
family("generator_evens", "${par}_numbers gen_$par yield_$par", "limit: int -> object",
       "yields the $par numbers below $limit | makes a generator of $par numbers less than $limit",
       "用生成器产生小于 $limit 的$par_zh | 编写生成器，逐个产出 $limit 以下的$par_zh",
       "for i in range($r, $limit, 2):\n    yield i", "list($f(5)) == [[0, 2, 4], [1, 3]][$r]\nlist($f(0)) == []",
       vary=dict(par=[dict(par="even", par_zh="偶数", r="0"), dict(par="odd", par_zh="奇数", r="1")]))

class_family("stack", "Stack MyStack SimpleStack ListStack",
       "is a stack with push, pop, peek and is_empty | is a stack class with the methods push, pop, peek and is_empty",
       "实现栈，支持 push、pop、peek 和 is_empty | 是一个栈类，包含 push、pop、peek、is_empty 方法",
       """
def __init__(self):
    self.items = []

def push(self, item):
    self.items.append(item)

def pop(self):
    return self.items.pop()

def peek(self):
    return self.items[-1]

def is_empty(self):
    return not self.items
""", "s = $f()\ns.push(1)\ns.push(2)\ns.peek() == 2\ns.pop() == 2\ns.is_empty() == False", topic=("a stack class", "栈"))
class_family("queue", "Queue MyQueue SimpleQueue FifoQueue",
       "is a queue with enqueue, dequeue and is_empty | is a queue class with the methods enqueue, dequeue and is_empty",
       "实现队列，支持 enqueue、dequeue 和 is_empty | 是一个队列类，包含 enqueue、dequeue、is_empty 方法",
       """
def __init__(self):
    self.items = []

def enqueue(self, item):
    self.items.append(item)

def dequeue(self):
    return self.items.pop(0)

def is_empty(self):
    return not self.items
""", "q = $f()\nq.enqueue(1)\nq.enqueue(2)\nq.dequeue() == 1\nq.is_empty() == False", topic=("a queue class", "队列"))
class_family("linked_list", "LinkedList SinglyLinked NodeList Chain",
       "is a linked list with append and to_list | is a singly linked list class with the methods append and to_list",
       "实现链表，支持 append 和 to_list | 是一个单链表类，包含 append、to_list 方法",
       """
def __init__(self):
    self.head = None

def append(self, value):
    node = [value, None]
    if self.head is None:
        self.head = node
        return
    current = self.head
    while current[1]:
        current = current[1]
    current[1] = node

def to_list(self):
    result = []
    current = self.head
    while current:
        result.append(current[0])
        current = current[1]
    return result
""", "l = $f()\nl.append(1)\nl.append(2)\nl.to_list() == [1, 2]\n$f().to_list() == []", topic=("a linked list", "链表"))
class_family("counter_class", "Counter ClickCounter StepCounter Tally",
       "is a counter that starts at $k with increment, decrement and reset | is a counter class starting from $k with the methods increment, decrement and reset",
       "实现从 $k 开始的计数器，支持 increment、decrement 和 reset | 是一个初值为 $k 的计数器类，包含 increment、decrement、reset 方法",
       """
def __init__(self):
    self.value = $k

def increment(self):
    self.value += 1

def decrement(self):
    self.value -= 1

def reset(self):
    self.value = $k
""", "c = $f()\nc.increment()\nc.value == $k + 1\nc.reset()\nc.value == $k", vary=dict(k=range(0, 50)))
class_family("account", "Account BankAccount Wallet SavingsAccount",
       "is a bank account with deposit, withdraw and a balance that starts at $k | is an account class whose balance starts at $k, with the methods deposit and withdraw",
       "实现银行账户，支持 deposit 和 withdraw，初始余额 $k | 是一个初始余额为 $k 的账户类，包含 deposit、withdraw 方法",
       """
def __init__(self):
    self.balance = $k

def deposit(self, amount):
    self.balance += amount

def withdraw(self, amount):
    if amount > self.balance:
        raise ValueError('insufficient balance')
    self.balance -= amount
""", "a = $f()\na.deposit(5)\na.balance == $k + 5\na.withdraw(3)\na.balance == $k + 2", vary=dict(k=[0, 10, 50, 100, 200, 500, 1000]), topic=())
class_family("point", "Point Vec Vector2 Coord",
       "is a 2D point with x, y and a method distance to another point | is a point class holding x and y, with a distance method",
       "实现二维点，有 x、y 和求到另一点距离的 distance 方法 | 是一个保存 x 和 y 的点类，包含 distance 方法",
       """
def __init__(self, x, y):
    self.x = x
    self.y = y

def distance(self, other):
    return ((self.x - other.x) ** 2 + (self.y - other.y) ** 2) ** 0.5
""", "$f(0, 0).distance($f(3, 4)) == 5\n$f(1, 2).y == 2")
class_family("rectangle", "Rectangle Rect Box Area",
       "is a rectangle with width, height and the methods area and perimeter | is a rectangle class with area and perimeter methods",
       "实现矩形，有 width、height 以及 area 和 perimeter 方法 | 是一个矩形类，包含 area、perimeter 方法",
       """
def __init__(self, width, height):
    self.width = width
    self.height = height

def area(self):
    return self.width * self.height

def perimeter(self):
    return 2 * (self.width + self.height)
""", "$f(2, 3).area() == 6\n$f(2, 3).perimeter() == 10", topic=("a rectangle class", "矩形类"))
class_family("lru_cache", "LRUCache RecentCache SmallCache LRU",
       "is an LRU cache of a given capacity with get and put | is a least recently used cache class with the methods get and put",
       "实现给定容量的 LRU 缓存，支持 get 和 put | 是一个最近最少使用缓存类，包含 get、put 方法",
       """
def __init__(self, capacity):
    self.capacity = capacity
    self.items = {}

def get(self, key):
    if key not in self.items:
        return -1
    self.items[key] = self.items.pop(key)
    return self.items[key]

def put(self, key, value):
    self.items.pop(key, None)
    self.items[key] = value
    if len(self.items) > self.capacity:
        del self.items[next(iter(self.items))]
""", "c = $f(1)\nc.put(1, 2)\nc.get(1) == 2\nc.put(3, 4)\nc.get(1) == -1", topic=("an LRU cache", "LRU 缓存"))
class_family("min_stack", "MinStack StackWithMin LowStack",
       "is a stack with push, pop and get_min | is a stack class that also returns its minimum, with push, pop and get_min",
       "实现支持 push、pop 和 get_min 的最小栈 | 是一个能返回最小值的栈类，包含 push、pop、get_min 方法",
       """
def __init__(self):
    self.items = []

def push(self, item):
    low = min(item, self.items[-1][1]) if self.items else item
    self.items.append((item, low))

def pop(self):
    return self.items.pop()[0]

def get_min(self):
    return self.items[-1][1]
""", "s = $f()\ns.push(2)\ns.push(3)\ns.get_min() == 2\ns.pop() == 3", topic=("a min stack", "最小栈"))
